"""Which directory a run gets, what may be done in it, and who keeps others out."""

import dataclasses
import json

import pytest

from tenfold.lab import engine
from tenfold.lab.engine import Options, RunError, prepare
from tenfold.lab.registry import UnknownName
from tenfold.lab.rundir import RunDirectory


@pytest.fixture
def prepared(tiny, tmp_path):
    """`prepared(seeds, ...)`: the directory of the preset small."""

    def prepare_small(seeds=(0, 1, 2), sabotage=None, **options):
        config = tiny.presets["small"].config
        return prepare(tiny, "small", config, seeds, tmp_path / "runs", "tenfold run tiny",
                       sabotage=sabotage, options=Options(**options))  # fmt: skip

    return prepare_small


class Silent:
    def open(self, path, units, todo):
        pass

    def show(self, event):
        pass

    def close(self):
        pass


def execute(study, directory):
    return engine.execute(study, directory, Options(workers=1), Silent())


def changed(site):
    with (site / "tinylab" / "__init__.py").open("a") as file:
        file.write("# changed\n")


def test_the_header_tells_what_is_run_and_where(prepared, tiny):
    directory = prepared(workers=2)
    header = directory.header()
    assert directory.path.parent.name == "tiny"
    assert directory.path.name.startswith("small-")
    assert (header["study"], header["preset"], header["seeds"]) == ("tiny", "small", [0, 1, 2])
    assert (header["command"], header["sabotage"]) == ("tenfold run tiny", None)
    assert header["overrides"] == {}
    assert header["environment"]["threads"] == 1
    assert set(header["config"]) == {
        f.name for f in dataclasses.fields(tiny.presets["small"].config)
    }


def test_what_differs_from_the_preset_is_told(tiny, tmp_path):
    config = dataclasses.replace(tiny.presets["small"].config, steps=7)
    directory = prepare(tiny, "small", config, [0], tmp_path, "", options=Options())
    assert directory.header()["overrides"] == {"steps": 7}


def test_one_worker_has_all_the_threads(prepared):
    assert prepared(workers=1).header()["environment"]["threads"] == engine.cores()


def test_the_same_config_gives_the_same_directory_and_seeds_are_added(prepared):
    first = prepared((0, 1))
    created = first.header()["created"]
    again = prepared((0, 2, 3))
    assert again.path == first.path
    assert again.header()["seeds"] == [0, 1, 2, 3]
    assert again.header()["created"] == created
    assert prepared((0,)).header()["seeds"] == [0, 1, 2, 3]


def test_a_sabotage_has_a_directory_of_its_own(prepared):
    honest, sabotaged = prepared(), prepared(sabotage="switched-off")
    assert honest.path != sabotaged.path
    assert sabotaged.header()["sabotage"] == "switched-off"
    with pytest.raises(UnknownName, match="unknown sabotage 'switch-off'; did you mean 'switched"):
        prepared(sabotage="switch-off")


def test_after_a_change_of_the_source_one_must_choose(prepared, site):
    directory = prepared()
    changed(site)
    with pytest.raises(RunError) as error:
        prepared()
    assert str(error.value) == (
        f"the source of tiny changed since {directory.path} was run: --fresh sets it aside and "
        "starts over, --keep goes on with what is there"
    )


def test_kept_means_gone_on_with(prepared, site):
    header = prepared((0,)).header()
    changed(site)
    kept = prepared((0, 1), if_changed="keep").header()
    assert kept == header | {"seeds": [0, 1]}


def test_fresh_sets_the_old_run_aside_under_a_new_number_each_time(prepared, site):
    """Nothing is deleted; a run whose source is the same is not set aside."""
    path = prepared().path
    for number in (1, 2):
        (path / "mark").write_text(str(number))
        changed(site)
        assert prepared(if_changed="fresh").path == path
        assert not (path / "mark").exists()
        old = path.with_name(f"{path.name}.old{number}")
        assert (old / "mark").read_text() == str(number)
        assert RunDirectory(old).header()["study"] == "tiny"
    (path / "mark").write_text("3")
    prepared(if_changed="fresh")
    assert (path / "mark").exists()


def test_a_folder_that_a_crash_left_without_a_header_is_used(prepared):
    path = prepared().path
    (path / "config.json").unlink()
    assert prepared().header()["study"] == "tiny"


def test_only_one_process_at_a_time_works_on_a_run(prepared, tiny):
    """Neither are seeds added meanwhile; afterwards all goes on."""
    directory = prepared((0,))
    says = f"another tenfold process is working on {directory.path}"
    with engine._locked(directory.path):
        for attempt in (lambda: prepared((0, 1)), lambda: execute(tiny, directory)):
            with pytest.raises(RunError, match=says):
                attempt()
    assert prepared((0, 1)).header()["seeds"] == [0, 1]


def test_an_edited_config_is_noticed(prepared, tiny):
    """What is finished was measured with another; new seeds are no such edit."""
    directory = prepared()
    header = directory.header()
    directory.write_header(header | {"config": header["config"] | {"rate": 0.25}})
    with pytest.raises(RunError, match=r"config\.json was edited: its config is not the one that"):
        execute(tiny, directory)


def test_a_run_that_was_moved_by_its_owner_can_go_on(prepared, tiny, tmp_path):
    """Under any name; there is nothing to measure here, since every result is there."""
    directory = prepared((0,))
    for arm in tiny.arms:
        directory.write_result(arm, 0, {"value": 1.0}, 2.0)
    moved = RunDirectory(directory.path.rename(tmp_path / "my run"))
    outcome = execute(tiny, moved)
    assert (outcome.state, outcome.errors) == ("done", {})
    units = json.loads((moved.path / "status.json").read_text())["units"]
    assert [(u["state"], u["seconds"]) for u in units.values()] == [("done", 2.0)] * 3


def test_a_finished_run_starts_no_process(prepared, tiny, monkeypatch):
    directory = prepared((0,))
    for arm in tiny.arms:
        directory.write_result(arm, 0, {"value": 1.0}, 2.0)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a process was started"))
    assert execute(tiny, directory).state == "done"


@pytest.mark.parametrize(("accelerator", "expected"), [(True, 1), (False, 2)])
def test_beside_an_accelerator_there_is_one_worker(monkeypatch, accelerator, expected):
    monkeypatch.setattr("tenfold.lab.devices.has_accelerator", lambda: accelerator)
    monkeypatch.setattr(engine, "cores", lambda: 8)
    assert engine.worker_count(Options()) == expected
    assert engine.worker_count(Options(workers=5)) == 5
