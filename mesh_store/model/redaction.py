"""Taking secrets out of text: what looks like a key, a token, an address or a card number.

The patterns are those of what people paste into prompts by mistake. They find what is written as its
issuer writes it; they cannot find a secret that looks like a word.
"""

from __future__ import annotations

import re

#: What stands where a secret stood.
MASK = "[redacted]"

#: Longest first where one begins like another. Each is bounded or ends at white space: linear time.
_PATTERNS = re.compile(
    r"""
      -----BEGIN[ ][A-Z0-9 ]{0,40}PRIVATE[ ]KEY-----[\s\S]*?(?:-----END[ ][A-Z0-9 ]{0,40}-----|\Z)
    | \bm[kt]_[0-9A-Za-z]{8}_[0-9A-Za-z]{20,}               # our own keys and tokens
    | \b(?:sk|pk|rk)-[0-9A-Za-z_-]{16,}                     # OpenAI, Anthropic, OpenRouter, DeepSeek
    | \b(?:sk|pk|rk)_(?:live|test)_[0-9A-Za-z]{10,}         # Stripe
    | \b(?:gsk|hf|xai|pplx|r8|fw|nvapi|tgp_v1|co|lin_api)[_-][0-9A-Za-z_-]{16,}
    | \bAIza[0-9A-Za-z_-]{30,}                              # Google
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                         # AWS
    | \bgh[pousr]_[0-9A-Za-z]{30,} | \bgithub_pat_[0-9A-Za-z_]{20,}
    | \bglpat-[0-9A-Za-z_-]{16,}
    | \bxox[abeoprs]-[0-9A-Za-z-]{10,}                      # Slack
    | \beyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*    # JSON web tokens
    | (?<=\b[Bb]earer[ ])[0-9A-Za-z._~+/=-]{8,}
    | (?<=://)[^\s/:@]{1,200}:[^\s/@]{1,200}(?=@)           # user:password in an address
    | [0-9A-Za-z._%+-]{1,64}@[0-9A-Za-z-]{1,63}(?:\.[0-9A-Za-z-]{1,63}){1,8}
    """,
    re.VERBOSE,
)
_ASSIGNED = re.compile(
    r"""(?i)(\b(?:api[_-]?key|secret|token|password|passwd|pwd)["']?[ ]?[:=][ ]?["']?)([^\s"',;}]{6,})"""
)
_DIGITS = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.])")


def redact(text: str) -> str:
    """Return the text with `MASK` where it held a secret."""
    text = _PATTERNS.sub(MASK, text)
    text = _ASSIGNED.sub(rf"\1{MASK}", text)
    return _DIGITS.sub(_card, text)


def _card(found: re.Match[str]) -> str:
    """Mask a number whose last digit checks the others (Luhn), as a card's does; leave any other."""
    digits = [int(digit) for digit in found[0] if digit.isdigit()]
    doubled = (
        digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4)
        for place, digit in enumerate(reversed(digits))
    )
    return MASK if sum(doubled) % 10 == 0 else found[0]
