"""What each key accepts, and what it is when nobody says."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from passproxy.core.formats import CLOCK_SKEW_LIMIT_SECONDS
from passproxy.core.settings import (
    ISSUERS_LIMIT,
    SESSION_LIFETIME_BOUNDS_SECONDS,
    BearerSettings,
    HeaderSettings,
    IdentitySettings,
    LogSettings,
    OidcSettings,
    RevocationSettings,
    SamlSettings,
    SessionSettings,
    Settings,
    UpstreamSettings,
)

UPSTREAM = {"url": "http://127.0.0.1:3000"}


def whole(**keys):
    return Settings(**{"domain": "app.example.com", "upstream": UPSTREAM, **keys})


def refused(model, **keys) -> str:
    with pytest.raises(ValidationError) as refusal:
        model(**keys)
    return str(refusal.value)


@pytest.mark.parametrize("seconds", [*SESSION_LIFETIME_BOUNDS_SECONDS, 3600])
def test_a_session_lasts_between_a_minute_and_a_month(seconds):
    assert SessionSettings(lifetime=seconds).lifetime == seconds


@pytest.mark.parametrize(
    "lifetime", [0, -1, 59, 31 * 86400 + 1, "59s", "32d", 1.5, True, None, "1440", "60", [], float("inf")]
)
def test_cfg_04_and_no_other_time(lifetime):
    refused(SessionSettings, lifetime=lifetime)


@pytest.mark.parametrize(
    ("written", "seconds"), [("off", None), (" off ", None), (None, None), ("5s", 5), ("24h", 86400)]
)
def test_the_provider_is_asked_again_now_and_then_or_never(written, seconds):
    assert SessionSettings(refresh=written).refresh == seconds


@pytest.mark.parametrize("written", ["4s", "25h", "false", "never", ""])
def test_and_not_at_any_other_time(written):
    refused(SessionSettings, refresh=written)


@pytest.mark.parametrize("model", [SamlSettings, OidcSettings])
def test_clocks_may_differ_by_minutes_at_most(model):
    more = {"issuer": "https://i", "client_id": "c"} if model is OidcSettings else {}
    assert model(clock_skew="5m", **more).clock_skew == CLOCK_SKEW_LIMIT_SECONDS
    refused(model, clock_skew="301s", **more)
    refused(model, clock_skew=-1, **more)


# --- the rest ---


@pytest.mark.parametrize("name", ["passproxy", "__Host-wiki", "a-b_c9"])
def test_a_cookie_has_a_plain_name(name):
    assert SessionSettings(cookie_name=name).cookie_name == name


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a;b", "ä", "a\n", "a.b", "x" * 65, "__Host-"])
def test_and_a_name_at_all(name):
    refused(SessionSettings, cookie_name=name)


def test_groups_are_chosen_by_regular_expressions():
    assert IdentitySettings(groups={"include": ["^app-"]}).groups.include == ("^app-",)
    for bad in (["("], [""], [" "], [None]):
        refused(IdentitySettings, groups={"include": bad})


def test_attributes_are_ours_and_their_names_are_lists():
    assert IdentitySettings(attributes={"email": "mail, work_mail"}).attributes == {"email": ("mail", "work_mail")}
    refused(IdentitySettings, attributes={"admin": ["x"]})
    refused(IdentitySettings, attributes={"email": [""]})


def test_choices_are_closed():
    refused(HeaderSettings, profile="other")
    refused(HeaderSettings, list_separator=" ")
    refused(LogSettings, level="trace")
    refused(LogSettings, format="xml")
    refused(OidcSettings, issuer="https://i", client_id="c", use_userinfo="sometimes")
    refused(SamlSettings, name_id_format="other")


@pytest.mark.parametrize("key", ["client_id", "issuer"])
def test_what_is_needed_is_not_blank(key):
    refused(OidcSettings, **{"issuer": "https://i", "client_id": "c", key: " "})


@pytest.mark.parametrize("secret", ["", " ", "\n"])
def test_cfg_06_an_empty_secret_is_none_at_all(secret):
    """It would be sent as an empty password, and is what an unset variable of a container looks like."""
    refused(OidcSettings, issuer="https://i", client_id="c", client_secret=secret)


def test_unknown_keys_are_refused_in_every_section():
    for model, keys in [
        (Settings, {"domain": "a.example", "upstream": UPSTREAM}),
        (UpstreamSettings, UPSTREAM),
        (SamlSettings, {}),
        (OidcSettings, {"issuer": "https://i", "client_id": "c"}),
        (SessionSettings, {}),
        (LogSettings, {}),
    ]:
        model(**keys)
        assert "nonsense" in refused(model, **keys, nonsense=1)


def test_settings_do_not_change_and_do_not_show_secrets():
    settings = whole(oidc={"issuer": "https://i", "client_id": "c", "client_secret": "hunter2"})
    with pytest.raises(ValidationError):
        settings.domain = "other.example"
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()


def test_the_defaults_are_the_safe_ones():
    settings = whole()
    assert settings.listen == "127.0.0.1:8123"
    assert settings.trusted_proxies == ("127.0.0.0/8", "::1")
    assert settings.upstream.verify_tls
    assert settings.passthrough.paths == ()
    assert settings.session.lifetime == 86400
    assert not OidcSettings(issuer="https://i", client_id="c").allow_unverified_email


@pytest.mark.parametrize(
    "issuer", ["https://sso.example.com/?", "https://sso.example.com/?a=b", "https://sso.example.com/#"]
)
def test_an_issuer_has_no_query_and_no_fragment(issuer):
    refused(OidcSettings, issuer=issuer, client_id="c")


# --- the end of sessions ---


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2026-03-01T08:00:00Z", 1772352000),
        (" 2026-03-01T09:00:00+01:00 ", 1772352000),
        (1772352000, 1772352000),
        (None, None),
    ],
)
def test_sessions_from_before_an_instant_are_over(written, seconds):
    assert SessionSettings(not_before=written).not_before == seconds


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("yesterday", "a date and time such as"),
        ("", "a date and time such as"),
        ("2026-03-01T08:00:00", "with its zone"),
        ("2026-03-01", "with its zone"),
        ([], "integer"),
    ],
)
def test_an_instant_has_a_date_a_time_and_a_zone(written, complaint):
    assert complaint in refused(SessionSettings, not_before=written)


@pytest.mark.parametrize(
    "store",
    [
        "none",
        "memory",
        "file:/var/lib/passproxy/revoked",
        "redis://localhost",
        "redis://user@redis.example.com:6379/0",
        "rediss://[::1]:6380/15",
        "unix:///run/redis/redis.sock",
    ],
)
def test_what_is_revoked_is_kept_nowhere_in_memory_in_a_file_or_in_a_redis(store):
    assert RevocationSettings(store=store).store == store


@pytest.mark.parametrize("store", ["", "http://localhost", "file:", "file:revoked", "file:/\0", "/var/lib/revoked"])
def test_and_nowhere_else(store):
    assert "none, memory, file:/path/to/file or redis://host:6379/0" in refused(RevocationSettings, store=store)


@pytest.mark.parametrize(
    "store",
    [
        "redis:",
        "redis://",
        "redis://host:99999",
        "redis://host/db",
        "redis://host?password=x",
        "unix://host/path",
        "unix:/",
    ],
)
def test_a_redis_is_named_whole_and_with_nothing_else(store):
    assert "without ? and #" in refused(RevocationSettings, store=store)


def test_the_password_of_a_redis_does_not_stand_in_its_address():
    said = refused(RevocationSettings, store="redis://:s3cret@host:6379/0")
    assert "revocation.password_file" in said
    assert "s3cret" not in said


def test_a_next_key_replaces_one_that_is_there():
    following = {"next_key_file": "/k2", "next_certificate_file": "/c2"}
    assert SamlSettings(key_file="/k", certificate_file="/c", **following).next_key_file == "/k2"
    assert "next_key_file needs key_file" in refused(SamlSettings, **following)


def test_nobody_who_was_not_asked_can_have_signed_in_anew():
    assert "contradict each other" in refused(SamlSettings, allow_idp_initiated=True, force_authn=True)


ISSUER = {"name": "ci", "issuer": "https://ci.example.com", "audience": "api"}


def test_an_issuer_needs_little_and_takes_asymmetric_algorithms_alone():
    (entry,) = BearerSettings(issuers=(ISSUER,)).issuers
    assert entry.audience == ("api",)
    assert (entry.max_lifetime, entry.clock_skew, entry.id_tokens, entry.forward) == (86400, 60, False, False)
    assert not any(algorithm.startswith(("HS", "none")) for algorithm in entry.algorithms)


@pytest.mark.parametrize(
    "more",
    [
        {"audience": ()},
        {"audience": ""},
        {"audience": " "},
        {"issuer": "http://ci.example.com"},
        {"issuer": "https://ci.example.com?x"},
        {"jwks_uri": "file:///etc/passwd"},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"types": ["logout+jwt"]},
        {"max_lifetime": "59s"},
        {"max_lifetime": "367d"},
        {"require": {"azp": []}},
        {"claims": {"user": ["azp"]}},
        {"paths": ["api"]},
        {"from": ["everywhere"]},
        {"name": ""},
        {"name": "passthrough.x"},
    ],
)
def test_cfg_04_what_would_take_more_tokens_than_anybody_means_is_refused(more):
    refused(BearerSettings, issuers=({**ISSUER, **more},))


def test_each_issuer_and_each_name_stands_once():
    for more in ({"name": "other"}, {"issuer": "https://other.example.com"}):
        assert "the same" in refused(BearerSettings, issuers=(ISSUER, {**ISSUER, **more}))
    many = [{**ISSUER, "name": f"n{n}", "issuer": f"https://{n}.example.com"} for n in range(ISSUERS_LIMIT + 1)]
    assert len(BearerSettings(issuers=tuple(many[1:])).issuers) == ISSUERS_LIMIT
    refused(BearerSettings, issuers=tuple(many))


def test_a_token_and_an_issuer_have_different_names():
    tokens = ({"name": "ci", "hash": "sha256:" + "0" * 64},)
    assert "ci" in refused(whole, passthrough={"tokens": tokens}, bearer={"issuers": (ISSUER,)})


def test_two_cannot_set_authorization():
    upstream = {**UPSTREAM, "basic_auth": {"username": "{user}", "password": "secret"}}
    issuers = ({**ISSUER, "forward": True},)
    assert "basic_auth" in refused(Settings, domain="a.example.com", upstream=upstream, bearer={"issuers": issuers})
