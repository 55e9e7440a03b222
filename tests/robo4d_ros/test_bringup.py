"""Bringup as a user starts, watches and stops it."""

import io
import os
import signal
import sys
import threading
import time

import pytest
from robo4d_ros import bringup
from robo4d_ros.bringup.graph import arguments
from robo4d_ros.bringup.supervisor import Command, Supervisor
from robo4d_ros.transport import NETWORK, THIS_MACHINE
from ros_probe import Condition
from std_srvs.srv import Trigger

BRINGUP = [sys.executable, "-m", "robo4d_ros.bringup"]


class Output(io.StringIO):
    """Lines to wait for."""

    def __init__(self):
        super().__init__()
        self.condition = Condition()

    def write(self, text):
        self.condition.change(lambda: super(Output, self).write(text))
        return len(text)

    def wait_for(self, text, count=1):
        self.condition.wait(lambda: self.getvalue().count(text) >= count, f"{text!r} {count} times")


def python(code):
    return [sys.executable, "-c", code]


def run(commands, until=lambda output: None):
    """Run commands, and press Ctrl-C when `until` returns: the exit status, and all lines."""
    output = Output()
    supervisor = Supervisor([Command(name=n, arguments=a, on_exit=e) for n, a, e in commands], {"LAMP": "on"}, output)

    def press():
        until(output)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press, daemon=True)
    if until:
        presser.start()
    status = supervisor.run()
    return status, output.getvalue().splitlines()


FOREVER = "import time\nprint('ready')\nwhile True: time.sleep(0.05)"


def test_output_is_prefixed_and_variables_reach_every_process():
    status, lines = run(
        [("lamp", python("import os; print(os.environ['LAMP'])"), "ignore"), ("stay", python(FOREVER), "shutdown")],
        lambda output: (output.wait_for("[lamp] on"), output.wait_for("ready")),
    )
    assert status == 0
    assert {"[lamp] on", "[stay] ready"} <= set(lines)


def test_the_end_of_an_important_process_ends_all_with_its_status():
    status, lines = run(
        [("core", python("import sys; sys.exit(7)"), "shutdown"), ("stay", python(FOREVER), "shutdown")], until=None
    )
    assert status == 7
    assert any("core ended with status 7" in line for line in lines)


@pytest.fixture
def inattentive(monkeypatch):
    """A supervisor that looks at its processes only when one of them has ended already."""
    watch = Supervisor._watch

    def watch_late(self):
        while self._events.empty():
            time.sleep(0.01)
        return watch(self)

    monkeypatch.setattr(Supervisor, "_watch", watch_late)


@pytest.mark.usefixtures("inattentive")
def test_an_end_before_the_first_look_is_not_missed():
    assert run([("core", python("import sys; sys.exit(7)"), "shutdown")], until=None)[0] == 7
    status, lines = run([("phoenix", python("print('born')"), "restart")], lambda output: output.wait_for("born", 2))
    assert status == 0
    assert any("starts again in 1 s" in line for line in lines)


def test_an_unimportant_process_may_end():
    status, lines = run(
        [("helper", python("print('bye')"), "ignore"), ("stay", python(FOREVER), "shutdown")],
        lambda output: (output.wait_for("helper ended with status 0"), output.wait_for("ready")),
    )
    assert status == 0
    ends, stops = (next(i for i, line in enumerate(lines) if text in line) for text in ("helper ended", "stopping"))
    assert ends < stops


def test_a_process_that_shall_be_restarted_is():
    status, lines = run(
        [("phoenix", python("print('born')"), "restart")], lambda output: output.wait_for("born", count=2)
    )
    assert status == 0
    assert any("starts again in 1 s" in line for line in lines)


def test_a_process_that_ignores_ctrl_c_is_terminated():
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + FOREVER
    status, lines = run([("deaf", python(deaf), "shutdown")], lambda output: output.wait_for("ready"))
    assert status == 0
    assert any("still running after SIGINT: deaf" in line for line in lines)


def test_a_command_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="cannot start ghost"):
        run([("ghost", ["/no/such/program"], "shutdown")], until=None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"simm": "true"}, "Did you mean `sim`"),
        ({"sim": "perhaps"}, "must be one of true, false"),
        ({"seed": "three"}, "must be a number"),
        ({"expert": "true"}, "needs sim:=true"),
        ({"generator": "oracle"}, "only the simulated cell's future"),
        ({"generator": "tiny", "auto_approve": "true"}, "approved by the operator"),
        ({"sim": "true", "expert": "true", "generator": "oracle"}, "choose one"),
        ({"robot": "ur5"}, "must be one of fer, fr3"),
        ({"params_file": "/no/such.yaml"}, "does not exist"),
    ],
)
def test_wrong_arguments_are_refused_with_the_right_ones(given, message):
    with pytest.raises(ValueError, match=message):
        bringup.parse(given)


def test_every_argument_is_documented_and_its_default_is_legal():
    for _, _, doc, _ in arguments():
        assert doc
    defaults = {name: default for name, default, _, _ in arguments()}
    assert bringup.parse(defaults) == bringup.BringupConfig()


def test_every_node_of_the_table_has_a_module():
    loop = bringup.nodes(bringup.parse({"sim": "true", "generator": "oracle", "bag": "session.mcap"}))
    names = ["sim", "executor", "generator", "tracker", "planner", "recorder", "session"]
    assert [spec.executable for spec in loop] == names
    for spec in [*loop, *bringup.nodes(bringup.parse({"sim": "true", "expert": "true"}))]:
        assert __import__(spec.module, fromlist=["main"]).main


def test_the_loop_works_on_a_real_cell_too_and_an_empty_table_is_refused_with_what_to_give():
    loop = bringup.nodes(bringup.parse({"generator": "tiny"}))
    assert {spec.executable for spec in loop} == {"executor", "generator", "tracker", "planner", "session"}
    with pytest.raises(ValueError, match="nothing to start: generator:=tiny"):
        bringup.nodes(bringup.BringupConfig())


def _trackers_parameters(**given):
    specs = bringup.nodes(bringup.parse({"generator": "tiny"} | given))
    return next(spec.parameters for spec in specs if spec.executable == "tracker")


def test_the_papers_threshold_of_the_task_is_set_when_its_rule_is_asked_for():
    assert not {name for name in _trackers_parameters(task="put_spatula_on_table") if name.startswith("readout.")}
    parameters = _trackers_parameters(task="put_spatula_on_table", opening="centroids")
    assert parameters["readout.opening"] == "centroids"
    assert parameters["readout.open_rule.threshold_m"] == 0.06
    with pytest.raises(ValueError, match="no threshold for task:=fold_towel, only for store_cereal_box"):
        _trackers_parameters(task="fold_towel", opening="centroids")


def test_processes_stay_on_this_machine_unless_asked_otherwise(monkeypatch):
    for name in {*THIS_MACHINE, *NETWORK, "RMW_IMPLEMENTATION", "OMP_WAIT_POLICY"}:
        monkeypatch.delenv(name, raising=False)
    threads = {"OMP_WAIT_POLICY": "PASSIVE"}
    assert bringup.environment(bringup.BringupConfig()) == THIS_MACHINE | threads
    assert bringup.environment(bringup.BringupConfig(network=True)).items() >= NETWORK.items()
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    assert bringup.environment(bringup.BringupConfig()) == {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"} | threads


def test_help_lists_the_arguments_and_nothing_is_started_by_mistake(start):
    shown = start([*BRINGUP, "--help"])
    refused = start([*BRINGUP, "simm:=true"])
    nothing = start(BRINGUP)
    assert shown.wait() == 0
    assert all(any(name in line for line in shown.lines) for name, *_ in arguments())
    assert (refused.wait(), nothing.wait()) == (2, 2)
    assert any("nothing to start" in line for line in nothing.lines)


def test_the_simulation_starts_answers_and_stops_on_ctrl_c(start, probe, tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text("/**/sim:\n  ros__parameters: {width: 16, height: 16, camera_rate_hz: 0.1}\n")
    process = start([*BRINGUP, "sim:=true", "seed:=4", "namespace:=cell", f"params_file:={file}"])
    assert not probe.call(Trigger, "cell/sim/success").success
    assert probe.get_parameters("cell/sim", "seed", "width") == [4, 16]
    process.signal(signal.SIGINT)
    assert process.wait() == 0
    assert not any("Traceback" in line for line in process.lines)
    assert any("stopping" in line for line in process.lines)


def test_a_node_that_is_stopped_while_it_is_still_loading_says_nothing(start):
    node = start([sys.executable, "-X", "importtime", "-m", "robo4d_ros", "sim"])
    node.wait_for_line("numpy.linalg")  # most is still to come
    node.signal(signal.SIGINT)
    assert node.wait() == -signal.SIGINT
    assert not any("Traceback" in line for line in node.lines)


def test_the_tracker_does_not_hear_an_oracle():
    assert _trackers_parameters(generator="oracle", sim="true")["heeds_generator"] is False
    assert "heeds_generator" not in _trackers_parameters()
