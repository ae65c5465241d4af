"""Only the right publisher is believed: what others write into Redis changes nothing."""

from __future__ import annotations

import stat

import msgspec
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mesh_store.model import ConfigError, ConfigUnavailable, keys
from mesh_store.model.ids import new_id
from mesh_store.model.signing import Place, Signer, hand_over, seal, trust_secret, unseal
from mesh_store.model.snapshot import KeyEntry
from mesh_store.redis import config_channel as channel
from mesh_store.sync.publisher import publish
from mesh_store.sync.publisher_key import PendingKey, load_signer
from mesh_store.sync.trust import Trust, parse_trust_key

OURS, THEIRS, NEXT = Signer(b"o" * 32), Signer(b"t" * 32), Signer(b"n" * 32)
KEY = b"k" * 32


async def _forge(source, aclient, signer):
    """Write a newer configuration and key entries, as a caller with write access could."""
    forged = source.copy()
    forged.commit("fast", "evil-model")
    forged.put_key(KEY, team="evil-team")
    await aclient.delete(channel.SNAPSHOT)
    await publish(forged, aclient, signer=signer)


@pytest.mark.parametrize("forger", [THEIRS, None], ids=["signed by another", "unsigned"])
async def test_what_another_publishes_is_refused_and_the_last_good_stays(
    source, aclient, subscribe, helpers, forger
):
    source.commit()
    source.put_key(KEY)
    await publish(source, aclient, signer=OURS)
    subscriber = subscribe(poll_s=0.05)
    assert subscriber.snapshot().revision == 1
    assert subscriber.trust.publisher == OURS.public
    await _forge(source, aclient, forger)
    helpers.eventually(lambda: subscriber.status().refused)
    assert helpers.model_of(subscriber) == "model-1"
    with pytest.raises(ConfigUnavailable, match=r"this process believes|is not signed"):
        subscriber.keys.lookup(KEY)


async def test_a_forged_delta_is_refused(source, aclient, subscribe, helpers):
    source.commit()
    await publish(source, aclient, signer=OURS)
    subscriber = subscribe(poll_s=600)
    assert subscriber.snapshot().revision == 1
    forged = source.copy()
    forged.commit("fast", "evil-model")
    unsigned = await aclient.get(channel.SNAPSHOT)
    await publish(forged, aclient, signer=THEIRS)
    await aclient.set(channel.SNAPSHOT, unsigned)
    helpers.eventually(lambda: subscriber.status().refused)
    assert helpers.model_of(subscriber) == "model-1"


async def test_a_signature_is_checked_not_only_looked_at(source, aclient, subscribe, helpers):
    source.commit()
    await publish(source, aclient, signer=OURS)
    subscriber = subscribe(poll_s=0.05)
    assert subscriber.snapshot().revision == 1
    source.commit("fast", "evil-model")
    place, body = Place(source.epoch, 2), msgspec.msgpack.encode(await source.compile_snapshot())
    envelope = msgspec.msgpack.decode(seal("snapshot", place, body, signer=THEIRS))
    envelope[6] = OURS.public
    await aclient.set(channel.SNAPSHOT, msgspec.msgpack.encode(envelope))
    await aclient.set(channel.HEAD, str(place))
    helpers.eventually(lambda: "false signature" in subscriber.status().redis)
    assert helpers.model_of(subscriber) == "model-1"


async def test_a_given_key_is_believed_from_the_first_moment(source, aclient, subscribe):
    source.commit()
    await publish(source, aclient, signer=THEIRS)
    subscriber = subscribe(trust=Trust(OURS.public))
    with pytest.raises(ConfigUnavailable, match="set MESH_TRUST_KEY"):
        subscriber.snapshot()


class Vouching:
    """A source that kept the trust secret of each key when it was minted."""

    def __init__(self, source, *texts):
        self._source = source
        self._secrets = {keys.digest(text): trust_secret(text) for text in texts}
        self.head, self.compile_snapshot = source.head, source.compile_snapshot
        self.keys_since = source.keys_since

    async def trust_secrets(self, digests):
        return {digest: self._secrets[digest] for digest in digests if digest in self._secrets}


async def test_on_first_use_the_callers_own_key_says_whom_to_believe(source, aclient, subscribe, helpers):
    minted = keys.mint()
    source.commit()
    source.put_key(minted.digest)
    await publish(Vouching(source, minted.text), aclient, signer=OURS)
    subscriber = subscribe(trust=Trust(caller_key=minted.text))
    assert subscriber.snapshot().revision == 1
    assert subscriber.trust.publisher == OURS.public


async def test_on_first_use_a_publisher_our_key_does_not_vouch_for_is_refused(source, aclient, subscribe):
    minted, other = keys.mint(), keys.mint()
    source.commit()
    source.put_key(minted.digest)
    impostor = Vouching(source)
    impostor._secrets = {minted.digest: trust_secret(other.text)}
    await publish(impostor, aclient, signer=THEIRS)
    subscriber = subscribe(trust=Trust(caller_key=minted.text))
    with pytest.raises(ConfigUnavailable, match="does not vouch for that publisher"):
        subscriber.snapshot()
    assert subscriber.trust.publisher is None


async def test_without_a_voucher_a_strict_first_use_believes_nobody(source, aclient, subscribe):
    minted = keys.mint()
    source.commit()
    source.put_key(minted.digest)
    for signer, said in ((None, "nobody signed is not believed"), (THEIRS, "does not vouch")):
        await aclient.flushall()
        await publish(source, aclient, signer=signer)
        subscriber = subscribe(trust=Trust(caller_key=minted.text))
        with pytest.raises(ConfigUnavailable, match=said):
            subscriber.snapshot()


async def test_a_pin_moves_along_handovers_the_old_publisher_signed(source, aclient, subscribe, helpers):
    source.commit()
    source.put_key(KEY)
    await publish(source, aclient, signer=OURS)
    subscriber = subscribe(poll_s=0.05)
    assert subscriber.snapshot().revision == 1
    last = Signer(b"z" * 32)
    await channel.publish_handovers(aclient, [hand_over(OURS, NEXT), hand_over(NEXT, last)])
    source.epoch = new_id()
    source.commit()
    await publish(source, aclient, signer=Signer(b"z" * 32))
    assert subscriber.wait(2, 60)
    assert subscriber.trust.publisher == Signer(b"z" * 32).public
    assert subscriber.keys.lookup(KEY)


async def test_a_handover_the_old_publisher_did_not_sign_moves_nothing(source, aclient, subscribe, helpers):
    source.commit()
    await publish(source, aclient, signer=OURS)
    subscriber = subscribe(poll_s=0.05)
    assert subscriber.snapshot().revision == 1
    genuine = hand_over(OURS, NEXT)
    forged = msgspec.structs.replace(hand_over(THEIRS, THEIRS), old=OURS.public)
    stolen = msgspec.structs.replace(genuine, new=THEIRS.public)
    for handover in (forged, stolen):
        await aclient.delete(channel.HANDOVERS)
        await channel.publish_handovers(aclient, [handover])
        source.revision += 1
        await _forge(source, aclient, THEIRS)
        shown = f"revision {source.revision + 1} is signed by {THEIRS.public.hex()}"
        helpers.eventually(lambda shown=shown: shown in subscriber.status().redis)
        assert subscriber.trust.publisher == OURS.public
    assert helpers.model_of(subscriber) == "model-1"


def test_a_given_key_is_not_moved_by_handovers():
    trust = Trust(OURS.public)
    trust.learn([hand_over(OURS, NEXT)])
    assert trust.publisher == OURS.public


def test_a_key_that_comes_back_is_followed_by_whoever_believes_either():
    there_and_back = [hand_over(OURS, NEXT), hand_over(NEXT, OURS)]
    for pinned in (OURS, NEXT):
        trust = Trust()
        trust.pin(pinned.public)
        trust.learn(there_and_back)
        assert trust.publisher == OURS.public
        trust.learn([*there_and_back, hand_over(OURS, NEXT)])
        assert trust.publisher == NEXT.public


def test_unsigned_configuration_is_believed_only_before_the_first_signed_one():
    trust = Trust()
    unsigned, signed = (seal("snapshot", Place("e", 1), b"x", signer=signer) for signer in (None, OURS))
    assert trust.unseal("snapshot", unsigned).body == b"x"
    assert trust.unseal("snapshot", signed).body == b"x"
    with pytest.raises(ConfigError, match="is not signed"):
        trust.unseal("snapshot", unsigned)


def test_every_byte_of_an_envelope_counts():
    entry = msgspec.msgpack.encode(KeyEntry(id="k", team="t"))
    sealed = seal("key", Place("e", 1), entry, name=KEY, signer=OURS)
    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        trust = Trust(OURS.public)
        with pytest.raises(ConfigError):
            trust.unseal("key", bytes(damaged), name=KEY)
    with pytest.raises(ConfigError, match="does not match its digest"):
        unseal("key", sealed, name=b"x" * 32)
    with pytest.raises(ConfigError, match="does not match its digest"):
        unseal("delta", sealed, name=KEY)


def test_derivation_is_hkdf():
    expected = HKDF(SHA256(), 32, salt=None, info=b"mesh trust 1").derive(b"mk_text")
    assert trust_secret("mk_text") == expected
    seed = HKDF(SHA256(), 32, salt=None, info=b"mesh publisher 1").derive(b"secret")
    assert Signer.from_secret("secret").public == Signer(seed).public


def test_a_publisher_without_a_secret_key_generates_one_for_its_owner_only(tmp_path):
    one, two = load_signer(None, tmp_path), load_signer(None, tmp_path)
    assert one is not None
    assert two is not None
    assert one.public == two.public
    path = tmp_path / "publisher.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["publisher.key"]
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_signer(None, tmp_path)
    assert load_signer(None, None) is None
    assert "private" not in repr(one)


def test_a_trust_key_that_is_none_is_refused():
    assert parse_trust_key(OURS.public.hex()) == OURS.public
    for wrong in ("", "zz", OURS.public.hex()[:-2]):
        with pytest.raises(ConfigError, match="MESH_TRUST_KEY"):
            parse_trust_key(wrong)


def test_a_pair_that_follows_is_on_disk_before_anything_depends_on_it(tmp_path):
    old = load_signer(None, tmp_path)
    pending = PendingKey(tmp_path)
    new = pending.signer()
    assert PendingKey(tmp_path).signer().public == new.public != old.public
    assert load_signer(None, tmp_path).public == old.public
    pending.keep()
    assert load_signer(None, tmp_path).public == new.public
    assert [(entry.name, stat.S_IMODE(entry.stat().st_mode)) for entry in tmp_path.iterdir()] == [
        ("publisher.key", 0o600)
    ]
