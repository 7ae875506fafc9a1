"""Every option that is not translated is named with its reason, and none with its value."""

from __future__ import annotations

from passproxy.cli.importers.draft import Draft
from passproxy.cli.importers.oauth2_proxy_leftovers import note_leftovers


def test_each_option_has_its_reason_and_never_its_value() -> None:
    draft = Draft("oauth2-proxy")
    note_leftovers(
        draft,
        {
            "trusted_ips": ["10.0.0.0/8"],
            "skip_provider_button": True,
            "htpasswd_file": "/etc/secret-path",
            "of_tomorrow": "secret-value",
            "redis_password": "secret-value",
            "redis_connection_url": "redis://secret-value",
            "request_logging": "true",
        },
    )
    said = {note.option: note.kind for note in draft.notes}
    assert said == {
        "trusted_ips": "no equal",
        "skip_provider_button": "not needed",
        "htpasswd_file": "no equal",
        "of_tomorrow": "no equal",
        "logging options": "not needed",
        "redis options": "not needed",
    }
    assert "secret" not in repr(draft)


def test_what_was_switched_off_anyway_is_not_mentioned() -> None:
    draft = Draft("oauth2-proxy")
    note_leftovers(draft, {"skip_oidc_discovery": "false", "ssl_insecure_skip_verify": False, "banner": ""})
    assert draft.notes == []
