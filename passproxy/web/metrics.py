"""
The metrics: what is counted, under the names by which it is asked for. docs/observability.md lists them.

Everything is read when somebody asks, and kept nowhere. This module is imported only where an admin
listener is configured. Labels are codes, reasons and states from the source, so that their number is
bounded; nothing of a request or of a person is ever one.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

import passproxy
from passproxy.core.counts import Histogram
from passproxy.core.session import SAID_SINCE
from passproxy.core.tokens import EXPIRED, FROM_THE_FUTURE, KEY_UNKNOWN
from passproxy.web import log
from passproxy.web.observed import Observed

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST

#: Reasons for which a session cookie is none, and their labels. Whatever is not here is `invalid`.
REASONS = {
    EXPIRED: "expired",
    "revoked": "revoked",
    KEY_UNKNOWN: "key_unknown",
    FROM_THE_FUTURE: "from_the_future",
    "from before session.not_before": "not_before",
    "more than one session cookie": "cookies",
    "a part of the session is missing": "cookies",
    "what renews the session did not come along": "not_renewed",
    "the provider does not renew it": "not_renewed",
    SAID_SINCE: "superseded",
    "the provider answered about somebody else": "not_renewed",
}

_OUTCOMES = ("endpoint", "login", "form_kept", "refused", "malformed")
_UPSTREAM_CODES = ("PP-UPSTREAM-UNREACHABLE", "PP-UPSTREAM-TIMEOUT", "PP-UPSTREAM-MALFORMED")
_RENEWALS = ("renewed", "refused", "mismatch")
_LOGINS = ("success", "resumed")


class Exporter:
    """Renders the metrics of what `observed` gives at the time, in Prometheus' text format."""

    def __init__(self, observed: Callable[[], Observed]) -> None:
        self._now = observed
        self._registry = prometheus_client.CollectorRegistry()
        self._registry.register(self)
        self._process_collector = prometheus_client.ProcessCollector(registry=None)
        self._started_at = observed().clock()

    def text(self) -> bytes:
        return prometheus_client.generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for."""
        yield from self._requests()
        yield from self._upstream()
        yield from self._sessions()
        yield from self._provider()
        yield from self._issuers()
        yield from self._process()

    @property
    def _observed(self) -> Observed:
        return self._now()

    def _requests(self) -> Iterator[Metric]:
        counts = self._observed.counts
        outcomes = {"forwarded": counts.forwarded, "public": counts.public}
        outcomes |= {name: counts.outcomes[name] for name in _OUTCOMES}
        yield _counter("requests", "Requests by what became of them.", "outcome", outcomes)
        answers = CounterMetricFamily("passproxy_responses", "Answers by class of status.", labels=("source", "status"))
        for source, numbers in (("application", counts.answers), ("passproxy", counts.own_answers)):
            for digit in range(1, 6):
                answers.add_metric((source, f"{digit}xx"), numbers[digit])
        yield answers
        yield _counter("errors", "Errors that were answered, by code.", "code", counts.errors)
        connections, tunnels = self._observed.server.sizes
        yield _gauge("connections", "Client connections that are open.", connections)
        yield _gauge("tunnels", "Upgraded connections (WebSocket) that are open.", tunnels)
        yield _total("connections_refused", "Client connections above the limit.", counts.turned_away)

    def _upstream(self) -> Iterator[Metric]:
        counts = self._observed.counts
        yield _histogram(
            "upstream_answer_seconds", "From the whole request sent to the head of the answer.", counts.latency
        )
        codes = {code: counts.errors[code] for code in _UPSTREAM_CODES}
        yield _counter("upstream_errors", "Requests that the application did not answer, by code.", "code", codes)
        yield _total("upstream_truncated", "Answers that began and could not be completed.", counts.truncated)
        yield _total("upstream_repeated", "Requests sent again, since a kept connection closed.", counts.repeated)
        connections, idle, waiting = self._observed.pool.sizes
        yield _gauge("upstream_connections", "Connections to the application, tunnels aside.", connections)
        yield _gauge("upstream_connections_idle", "Those of them that no request uses.", idle)
        yield _gauge("upstream_waiting", "Requests that wait for a connection to the application.", waiting)

    def _sessions(self) -> Iterator[Metric]:
        counts = self._observed.counts
        yield _counter(
            "logins", "Answers of the identity provider, by result.", "result", _with(_LOGINS, counts.logins)
        )
        renewals = _with(_RENEWALS, counts.renewals)
        yield _counter("renewals", "Questions whether a session still holds, by result.", "result", renewals)
        refused = dict.fromkeys((*REASONS.values(), "invalid"), 0)
        for reason, count in counts.sessions_refused.items():
            refused[REASONS.get(reason, "invalid")] += count
        yield _counter("sessions_refused", "Session cookies that were none, by reason.", "reason", refused)
        yield _counter("passthrough_tokens", "Requests with a passthrough token, by its name.", "token", counts.tokens)
        yield _counter("bearer_tokens", "Requests with a bearer token, by its issuer's name.", "issuer", counts.bearers)
        yield _gauge("revocations", "Entries of the list of revoked sessions.", len(self._observed.revocations.revoked))
        yield _gauge(
            "revocations_current", "1 if what other instances end is known here.", self._observed.revocations.is_current
        )
        yield _gauge("session_keys", "Keys that verify sessions; the newest one signs.", self._observed.keys)

    def _provider(self) -> Iterator[Metric]:
        standing, now = self._observed.provider.standing(), self._observed.clock()
        yield _gauge(
            "idp_known", "1 if the provider's description is known, also from an earlier run.", standing.is_known
        )
        age = None if standing.confirmed_at is None else max(now - standing.confirmed_at, 0)
        yield _gauge("idp_description_age_seconds", "Since the provider last gave its description.", age)
        failures = GaugeMetricFamily(
            "passproxy_idp_failures", "Failed attempts to get it since then.", labels=("code",)
        )
        if standing.failure is not None:
            failures.add_metric((standing.failure,), standing.failures)
        yield failures
        yield _gauge("idp_signing_keys", "Keys with which the provider may sign.", standing.signing_keys)
        yield _gauge(
            "idp_certificate_expires_timestamp_seconds",
            "When the last of the provider's certificates ends; absent where its keys have none.",
            standing.keys_expire_at,
        )

    def _issuers(self) -> Iterator[Metric]:
        keys = GaugeMetricFamily("passproxy_issuer_keys", "Keys that verify bearer tokens.", labels=("issuer",))
        ages = GaugeMetricFamily(
            "passproxy_issuer_keys_age_seconds", "Since an issuer last gave its keys.", labels=("issuer",)
        )
        failures = GaugeMetricFamily(
            "passproxy_issuer_failures", "Failed attempts to get them since then.", labels=("issuer", "code")
        )
        now = self._observed.clock()
        for issuer in self._observed.issuers:
            name, standing = issuer.trust.name, issuer.standing()
            keys.add_metric((name,), standing.signing_keys)
            if standing.confirmed_at is not None:
                ages.add_metric((name,), max(now - standing.confirmed_at, 0))
            if standing.failure is not None:
                failures.add_metric((name, standing.failure), standing.failures)
        yield from (keys, ages, failures)

    def _process(self) -> Iterator[Metric]:
        # Its own start it would have to count from that of the machine, which a hardened unit does not see.
        start = "process_start_time_seconds"
        yield from (family for family in self._process_collector.collect() if family.name != start)
        yield GaugeMetricFamily(start, "When the process started.", value=self._started_at)
        yield _gauge("ready", "1 if /ready says so.", not self._observed.not_ready())
        lost, repeated = log.lines_dropped()
        dropped = {"slow_reader": lost, "repeated": repeated}
        yield _counter("log_lines_dropped", "Lines of the logs that were not written, by reason.", "reason", dropped)
        build = GaugeMetricFamily("passproxy_build_info", "1, with the versions.", labels=("version", "python"))
        build.add_metric((passproxy.__version__, platform.python_version()), 1)
        yield build


def _with(names: tuple[str, ...], counted: Mapping[str, int]) -> dict[str, int]:
    """With a zero for what has not happened yet: a rate needs one to begin with."""
    return {**dict.fromkeys(names, 0), **counted}


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"passproxy_{name}", text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _total(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"passproxy_{name}", text, value=value)


def _gauge(name: str, text: str, value: float | None) -> Metric:
    return GaugeMetricFamily(f"passproxy_{name}", text, value=value)


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets, count = [], 0
    for end, number in zip((*histogram.ends, float("inf")), histogram.buckets, strict=True):
        count += number
        buckets.append(("+Inf" if end == float("inf") else str(end), float(count)))
    return HistogramMetricFamily(f"passproxy_{name}", text, buckets=buckets, sum_value=histogram.sum)
