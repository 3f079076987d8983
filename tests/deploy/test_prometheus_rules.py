"""Rules: what promtool says about them, and that each alert is tested, explained, and asks for what there is."""

import itertools
import re

import promql_parser
import pytest
import yaml
from monitored import OF_PROMETHEUS, ROOT, RULE_TESTS, RULES, SHIPPED, alerts, queries, rules, run, selectors

from outlast.monitoring.metrics.table import FIGURES

RUNBOOK = ROOT / "docs" / "runbook.md"
ADDED_BY_PROMETHEUS = {"installation", "instance", "job"}
EXPRESSIONS = [*((f"{r.get('alert') or r['record']}", r["expr"]) for r in rules()), *queries()]
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
#: What may be asked for -> labels and their closed values.
SERIES = {figure.name + suffix: figure for figure in FIGURES.values() for suffix in SUFFIXES[figure.kind]}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def test_promtool_accepts_every_rule_and_the_configuration():
    run("promtool", "check", "rules", *RULES)
    run("promtool", "check", "config", SHIPPED / "prometheus" / "prometheus.yml")


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_only_then(file):
    run("promtool", "test", "rules", file)


def test_amtool_accepts_the_example_of_alertmanager():
    run("amtool", "check-config", SHIPPED / "alertmanager" / "alertmanager.yml")


def test_every_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_does_not():
    fired, quiet = set(), set()
    for file in RULE_TESTS:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                (fired if case["exp_alerts"] else quiet).add(case["alertname"])
    assert fired == set(alerts())
    # The one that always fires is the dead man's switch.
    assert quiet == set(alerts()) - {"OutlastWatchdog"}


def test_every_alert_says_how_bad_it_is_what_has_happened_and_where_to_read_on():
    sections = set(re.findall(r"^### (\w+)$", RUNBOOK.read_text(), re.MULTILINE))
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"} or name == "OutlastWatchdog"
        assert set(rule["annotations"]) == {"summary", "runbook"}
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
    assert sections == set(alerts())


def test_alertmanager_speaks_of_alerts_that_exist_and_sends_the_dead_mans_switch_out():
    config = yaml.safe_load((SHIPPED / "alertmanager" / "alertmanager.yml").read_text())
    named = set(re.findall(r"Outlast\w+(?:\.\*)?", str(config)))
    for pattern in named:
        assert any(re.fullmatch(pattern, alert) for alert in alerts()), pattern
    (switch,) = [route for route in config["route"]["routes"] if "OutlastWatchdog" in str(route["matchers"])]
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    assert receivers[switch["receiver"]]["webhook_configs"][0]["send_resolved"] is False


def test_routes_lead_each_severity_where_it_belongs():
    config = SHIPPED / "alertmanager" / "alertmanager.yml"

    def receiver(**labels):
        pairs = (f"{name}={value}" for name, value in labels.items())
        return run("amtool", "config", "routes", "test", f"--config.file={config}", *pairs).strip()

    assert receiver(alertname="OutlastNoWorkers", severity="critical") == "pager"
    assert receiver(alertname="OutlastQueueOld", severity="warning") == "team"
    assert receiver(alertname="OutlastWorkersFull", severity="info") == "nobody"
    assert receiver(alertname="OutlastWatchdog", severity="none") == "dead-mans-switch"


def test_what_is_not_told_is_about_the_same_as_what_is_worse():
    """Labels that neither alert has would be equal, and silence what has nothing to do with it."""
    for rule in yaml.safe_load((SHIPPED / "alertmanager" / "alertmanager.yml").read_text())["inhibit_rules"]:
        for matchers in (rule["source_matchers"], rule["target_matchers"]):
            pattern = re.search(r'"(.*)"', matchers[0])[1]
            for name in (name for name in alerts() if re.fullmatch(pattern, name)):
                missing = set(rule.get("equal", [])) - ADDED_BY_PROMETHEUS - _kept(alerts()[name]["expr"])
                assert not missing, f"{name} has no {missing}"


@pytest.mark.parametrize("place", [place for place, _ in EXPRESSIONS])
def test_every_query_asks_for_metrics_labels_and_values_that_exist(place):
    query = dict(EXPRESSIONS)[place]
    for selector in selectors(query):
        if selector.name in RECORDED | OF_PROMETHEUS:
            continue
        assert selector.name in SERIES, f"there is no {selector.name}"
        figure = SERIES[selector.name]
        for matcher in selector.matchers.matchers:
            _check_matcher(figure, matcher)
    for labels in _grouped(query):
        known = {label for selector in selectors(query) for label in _labels(selector.name)}
        assert labels <= known | ADDED_BY_PROMETHEUS, f"{labels - known} is no label of what is asked for"


def test_recorded_series_are_named_by_level_metric_and_operation_and_are_all_used():
    used = {selector.name for _, query in EXPRESSIONS for selector in selectors(query)}
    for name in RECORDED:
        assert re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", name)
    assert used >= RECORDED, RECORDED - used


def _kept(query):
    """The labels that a query groups by, else those of what it asks for."""
    grouped = _grouped(query)
    kept = grouped or (_labels(selector.name) for selector in selectors(query))
    return set(itertools.chain.from_iterable(kept))


def _check_matcher(figure, matcher):
    if matcher.name in ADDED_BY_PROMETHEUS:
        return
    if matcher.name == "le":
        assert float(matcher.value) in figure.buckets, f"{figure.name} has no bucket {matcher.value}"
        return
    values = figure.labels[matcher.name]
    if values is not None:
        assert any(re.fullmatch(matcher.value, value) for value in values), f"{figure.name}: no {matcher.value}"


def _labels(name):
    if name in SERIES:
        return {*SERIES[name].labels, "le"}
    if name == "ALERTS":
        return {"alertname", "alertstate", "severity"}
    of_rule = [rule["expr"] for rule in rules() if rule.get("record") == name]
    return _kept(of_rule[0]) if of_rule else set()


def _grouped(query):
    """The labels of each `by (...)`."""
    found = []

    def visit(expr):
        if isinstance(expr, promql_parser.AggregateExpr) and expr.modifier is not None:
            found.append(set(expr.modifier.labels))
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    return found
