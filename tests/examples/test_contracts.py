"""Contracts: what the model reads wrong it reads again; what the contract has wrong a person corrects."""

import tomllib
from pathlib import Path

from outlast.domain.question import Decision
from outlast.domain.run import RunStatus

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "contracts"
AGENT = "contracts"


def contract(name):
    return {"contract": (FOLDER / "documents" / f"{name}.txt").read_text(encoding="utf-8")}


async def question_of(running, run_id):
    """Return the one question that the run asks."""
    await running.finished(run_id, RunStatus.WAITING)
    [found], _ = await running.runtime.inbox().find(run_id=run_id, status="open")
    return found


async def test_the_model_alone_takes_one_price_for_another_and_overlooks_the_deposit(graph_of):
    read = await (await graph_of("contracts", AGENT)).ainvoke(contract("harbour_street_12"))
    assert (read["price"], read["deposit"]) == ("EUR 845,000", None)


async def test_told_what_cannot_be_right_it_reads_again(graph_of):
    told = contract("harbour_street_12") | {"review": [{"code": "missing", "text": "deposit is missing"}]}
    read = await (await graph_of("contracts", AGENT)).ainvoke(told)
    assert (read["price"], read["deposit"]) == ("EUR 485,000", "EUR 48,500")


async def test_an_analysis_that_nothing_speaks_against_is_the_output(outlast):
    async with outlast("contracts") as running:
        run = await running.finished(await running.start(AGENT, contract("mill_lane_3")))
    assert (run.output["price"], run.output["closing"]) == ("EUR 312,500", "2036-09-30")
    assert [condition["date"] for condition in run.output["contingencies"]] == ["2036-03-15", "2036-05-02"]


async def test_what_the_model_cannot_put_right_a_person_corrects_after_a_restart(outlast):
    async with outlast("contracts") as running:
        run_id = await running.start(AGENT, contract("harbour_street_12"))
        question = await question_of(running, run_id)
        # The price and the deposit were read again; the date is as the contract has it.
        [reason] = question.reasons
        assert reason.code == "in_the_past"
        assert "contingencies.1.date" in reason.text
        assert "2016-05-12" in reason.text
        assert (question.kind, question.subject["price"]) == ("review", "EUR 485,000")

    corrected = question.subject | {
        "contingencies": [question.subject["contingencies"][0], {"what": "roof", "date": "2036-05-12"}]
    }
    async with outlast("contracts") as running:
        decision = Decision(decision="edit", value=corrected, hash=question.hash)
        await running.runtime.inbox().answer(question.id, decision)
        run = await running.finished(run_id)
    assert run.output == corrected


async def test_a_person_who_says_no_ends_it(outlast):
    async with outlast("contracts") as running:
        run_id = await running.start(AGENT, contract("harbour_street_12"))
        question = await question_of(running, run_id)
        decision = Decision(decision="reject", message="not before the notary has called")
        await running.runtime.inbox().answer(question.id, decision)
        run = await running.finished(run_id, RunStatus.FAILED)
    assert run.error_code == "rejected"
    assert "not before the notary has called" in run.error_message


async def test_a_reading_that_the_model_is_not_sure_of_is_for_a_person_too(outlast):
    async with outlast("contracts") as running:
        run_id = await running.start(AGENT, contract("quay_7"))
        question = await question_of(running, run_id)
        assert [reason.code for reason in question.reasons] == ["low_confidence"]
        await running.runtime.inbox().answer(question.id, Decision(decision="approve"))
        run = await running.finished(run_id)
    assert run.output["price"] == "EUR 1,150,000"


def test_the_documents_of_the_page_are_those_of_the_folder():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert {name for name in page.split("`") if name.endswith(".txt")} == {
        file.name for file in (FOLDER / "documents").iterdir()
    }
    assert "contracts" in tomllib.loads((FOLDER / "outlast.toml").read_text(encoding="utf-8"))["agents"]
