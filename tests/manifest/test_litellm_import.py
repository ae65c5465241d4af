"""`mesh import litellm`: what becomes of a proxy's config, and what is said about the rest."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mesh_store.admin.manifest import ManifestError, parse
from mesh_store.admin.manifest.litellm_config import translate

if TYPE_CHECKING:
    from tests.manifest.conftest import Ground

WHOLE = """\
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 600, weight: 0.9}
    model_info: {mode: chat, id: x1, max_input_tokens: 128000}
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: os.environ/AZURE_API_BASE
      api_key: os.environ/AZURE_EUROPE_API_KEY
      api_version: "2024-02-01"
      weight: 0.1
      max_budget: 10
      budget_duration: 1d
  - model_name: claude
    litellm_params: {model: claude-sonnet-4-5, max_tokens: 1024, timeout: 30, temperature: 0.2}
router_settings:
  model_group_alias: {gpt-4: gpt-4o}
  fallbacks: [{gpt-4o: [claude]}, {claude: [gpt-4o]}]
  provider_budget_config: {openai: {budget_limit: 100, time_period: 30d}}
litellm_settings:
  max_budget: 1000
  budget_duration: 30d
  default_team_settings: [{team_id: research, max_budget: 50, budget_duration: 7d, rpm_limit: 100}]
environment_variables: {AZURE_API_BASE: "https://eu.openai.azure.com"}
"""


def made_of(text: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Translate; returns the manifest's values, and the notes by field."""
    translated = translate(dedent(text), "config.yaml")
    parse(translated.text, "made")
    return yaml.safe_load(translated.text), {note.field: note.why for note in translated.notes}


def one(**params: Any) -> str:
    """A config of one deployment."""
    return yaml.safe_dump({"model_list": [{"model_name": "m", "litellm_params": params}]})


def test_deployments_of_one_name_become_weighted_targets_of_one_alias() -> None:
    made, _ = made_of(WHOLE)
    alias = made["aliases"][0]
    assert alias["name"] == "gpt-4o"
    assert [(t["provider"], t["model"], t.get("weight", 1), t.get("tier", 1)) for t in alias["targets"]] == [
        ("openai", "gpt-4o", 9, 1),
        ("azure", "gpt-4o-eu", 1, 1),
        ("anthropic", "claude-sonnet-4-5", 1, 2),
    ]
    assert alias["targets"][0]["context_window"] == 128000


def test_accounts_become_providers_with_references_for_secrets() -> None:
    made, _ = made_of(WHOLE)
    assert made["providers"] == [
        {"name": "openai", "kind": "openai", "secret": "env:OPENAI_API_KEY"},
        {
            "name": "azure",
            "kind": "openai",
            "base_url": "https://eu.openai.azure.com",
            "secret": "env:AZURE_EUROPE_API_KEY",
            "options": {"azure": True, "api_version": "2024-02-01"},
        },
        {"name": "anthropic", "kind": "anthropic", "secret": "env:ANTHROPIC_API_KEY"},
    ]


def test_fallbacks_in_a_circle_become_tiers_without_one() -> None:
    made, _ = made_of(WHOLE)
    claude = made["aliases"][1]
    assert [(t["model"], t.get("tier", 1)) for t in claude["targets"]] == [
        ("claude-sonnet-4-5", 1),
        ("gpt-4o", 2),
        ("gpt-4o-eu", 2),
    ]
    assert claude["timeout"] == 30


def test_another_name_of_a_group_is_an_alias_with_the_same_targets() -> None:
    made, _ = made_of(WHOLE)
    by_name = {alias["name"]: alias for alias in made["aliases"]}
    assert by_name["gpt-4"]["targets"] == by_name["gpt-4o"]["targets"]


def test_rates_and_budgets_become_limits() -> None:
    made, _ = made_of(WHOLE)
    limits = made["limits"]
    assert {"limit": "$1000/month"} in limits
    assert {"provider": "openai", "limit": "$100/month"} in limits
    assert {"alias": "gpt-4o", "target": "openai/gpt-4o", "limit": "600 requests/min"} in limits
    assert {"alias": "gpt-4o", "target": "azure/gpt-4o-eu", "limit": "$10/day"} in limits
    assert made["teams"] == [{"name": "research", "limits": ["100 requests/min", "$50/week"]}]


def test_budgets_of_end_users_and_tags_become_limits_on_them() -> None:
    config = one(model="openai/gpt-4o") + dedent("""\
        litellm_settings:
          max_end_user_budget: 0.5
          tag_budget_config: {"product:chat": {max_budget: 3, budget_duration: 1d}, "a=b": {max_budget: 1}}
        customers:
          - {user_id: ann, litellm_budget_table: {max_budget: 9, budget_duration: 30d, rpm_limit: 5}}
        """)
    made, notes = made_of(config)
    limits = made["limits"]
    assert {"end_user": "*", "limit": "$0.50/year"} in limits
    assert {"tag": "product:chat", "limit": "$3/day"} in limits
    assert {"end_user": "ann", "limit": "$9/month"} in limits
    assert {"end_user": "ann", "limit": "5 requests/min"} in limits
    assert "litellm_settings.tag_budget_config.a=b" in notes


async def test_what_comes_out_applies(ground: Ground) -> None:
    text = translate(WHOLE, "config.yaml").text
    await ground.apply(text)
    assert (await ground.plan(text, prune=True)).changes == ()


def test_every_note_has_its_line() -> None:
    notes = translate(WHOLE, "config.yaml").notes
    assert str(notes[-1]).startswith("config.yaml:24: environment_variables: set them where callers run")


def test_a_secret_in_the_file_is_neither_written_nor_repeated() -> None:
    translated = translate(one(model="openai/x", api_key="sk-canary"), "config.yaml")
    assert "sk-canary" not in translated.text + "".join(map(str, translated.notes))
    assert "env:OPENAI_API_KEY" in translated.text


def test_an_address_that_is_not_known_is_never_another_vendors() -> None:
    made, notes = made_of(one(model="openai/x", api_base="os.environ/WHERE", api_key="os.environ/K"))
    assert made["providers"][0]["base_url"] == "https://where.invalid"
    assert "put the value of WHERE" in notes["model_list.0.litellm_params.api_base"]


def test_an_address_that_cannot_be_used_is_never_another_vendors() -> None:
    made, notes = made_of(one(model="openai/x", api_base="https://a.example/v1?k=1"))
    assert made["providers"][0]["base_url"] == "https://fill-in.invalid"
    assert any("base_url" in why for why in notes.values())


def test_other_vendors_go_through_litellm_with_their_credentials_as_references() -> None:
    made, notes = made_of(
        one(
            model="bedrock/anthropic.claude-3",
            aws_access_key_id="os.environ/AWS_ID",
            aws_secret_access_key="os.environ/AWS_SECRET",
            aws_region_name="us-east-1",
        )
    )
    assert made["providers"] == [
        {
            "name": "bedrock",
            "kind": "litellm",
            "secret": {"aws_access_key_id": "env:AWS_ID", "aws_secret_access_key": "env:AWS_SECRET"},
        }
    ]
    assert made["aliases"][0]["targets"][0]["model"] == "bedrock/anthropic.claude-3"
    assert "aws_region_name: 'env:" in notes["model_list.0.litellm_params.aws_region_name"]


def test_parameters_that_all_targets_share_are_defaults_which_callers_may_change() -> None:
    made, _ = made_of(one(model="gpt-4o", temperature=0.1, max_tokens=20))
    [alias] = made["aliases"]
    assert alias["defaults"] == {"temperature": 0.1}
    assert alias["targets"][0]["max_output_tokens"] == 20


def test_prices_per_token_become_prices_per_million() -> None:
    made, _ = made_of(one(model="gpt-4o", input_cost_per_token=0.0000025, output_cost_per_token=1e-5))
    assert made["prices"] == [{"provider": "openai", "model": "gpt-4o", "input": 2.5, "output": 10}]


def test_embeddings_answer_embeddings() -> None:
    made, _ = made_of("""\
        model_list:
          - {model_name: e, litellm_params: {model: text-embedding-3-small}, model_info: {mode: embedding}}
        """)
    assert made["aliases"][0]["operations"] == ["embeddings"]


def test_names_no_mesh_takes_become_such_as_it_does_and_stay_apart() -> None:
    made, notes = made_of("""\
        model_list:
          - {model_name: GPT 4, litellm_params: {model: gpt-4}}
          - {model_name: gpt-4, litellm_params: {model: gpt-4o}}
        """)
    assert [alias["name"] for alias in made["aliases"]] == ["gpt-4", "gpt-4-2"]
    assert "callers use that name" in notes["model_list.0"]


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        (
            "model_list: [{model_name: '*', litellm_params: {model: '*'}}]",
            "model_list.0",
            "only 'prefix/*' is a pattern here",
        ),
        (
            "model_list: [{model_name: i, litellm_params: {model: d}, model_info: {mode: image_generation}}]",
            "model_list.0",
            "not governed",
        ),
        ("model_list: [{model_name: x}]", "model_list.0", "a deployment has a model_name"),
        ("router_settings: {routing_strategy: least-busy}", "router_settings.routing_strategy", "by weight"),
        (
            "router_settings: {fallbacks: [{a: [b]}]}",
            "router_settings.fallbacks.0.a",
            "there is no model_name",
        ),
        ("general_settings: {master_key: sk-1}", "general_settings.master_key", "mesh key create"),
        (
            "litellm_settings: {default_key_generate_params: {max_budget: 1, budget_duration: 1mo}}",
            "litellm_settings.default_key_generate_params",
            "keys are not in a manifest: `mesh key create`, then `mesh limit create --key` ($1/month)",
        ),
        ("litellm_settings: {max_budget: 5}", "litellm_settings.max_budget", "never starts anew"),
        ("guardrails: [{guardrail_name: x}]", "guardrails", "there are no guardrails"),
    ],
)
def test_what_does_not_translate_is_listed_with_its_reason(text: str, field: str, why: str) -> None:
    _, notes = made_of(text)
    assert why in notes[field]


def test_what_is_no_config_at_all_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"config\.yaml:1:1: this is no LiteLLM config"):
        translate("[1]", "config.yaml")


def test_wildcard_deployments_become_patterns_that_pass_on_what_they_caught() -> None:
    made, notes = made_of("""\
        model_list:
          - {model_name: 'openai/*', litellm_params: {model: 'openai/*'}}
          - {model_name: 'anthropic/*', litellm_params: {model: 'anthropic/*'}}
          - {model_name: 'bedrock/*', litellm_params: {model: 'bedrock/*', aws_region_name: os.environ/R}}
          - {model_name: 'any/*', litellm_params: {model: gpt-5-mini}}
        """)
    assert {
        alias["name"]: [(t["provider"], t["model"]) for t in alias["targets"]] for alias in made["aliases"]
    } == {
        "openai/*": [("openai", "*")],
        "anthropic/*": [("anthropic", "*")],
        "bedrock/*": [("bedrock", "bedrock/*")],
        "any/*": [("openai", "gpt-5-mini")],
    }
    assert notes == {}


def test_a_wildcard_of_litellms_that_would_pass_the_vendor_on_is_not_translated() -> None:
    made, notes = made_of(
        "model_list: [{model_name: 'a/*', litellm_params: {model: '*', custom_llm_provider: x}}]"
    )
    assert made.get("aliases", []) == []
    assert "only 'prefix/*'" in notes["model_list.0"]
