"""Names that leave for OpenTelemetry are spelt as OpenTelemetry's own package spells them."""

from __future__ import annotations

from types import ModuleType

import pytest

from mesh_store.telemetry.exporters.names import PROVIDERS, V1_41

pytest.importorskip("opentelemetry.semconv")


def spelt(*modules: ModuleType) -> set[str]:
    return {value for module in modules for value in vars(module).values() if isinstance(value, str)}


def test_every_name_that_is_not_ours_is_in_the_conventions() -> None:
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
    from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
    from opentelemetry.semconv.attributes import error_attributes, http_attributes

    known = spelt(gen_ai_attributes, gen_ai_metrics, error_attributes, http_attributes)
    foreign = {name for name in V1_41 if not name.startswith("mesh.")}
    assert len(foreign) > 15
    assert not foreign - known


def test_providers_are_called_what_the_conventions_call_them() -> None:
    from opentelemetry.semconv._incubating.attributes.gen_ai_attributes import GenAiProviderNameValues

    assert not set(PROVIDERS.values()) - {each.value for each in GenAiProviderNameValues}
