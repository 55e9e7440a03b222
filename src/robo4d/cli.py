"""The command line: `robo4d --help` shows all.

Every command is one function with typed arguments, which tyro turns into options. It is imported only when called,
so that `robo4d --help` answers at once and a machine needs only the extras of the commands that it runs.
"""

import difflib
import importlib
import sys

import tyro
from rich.console import Console
from rich.table import Table

COMMANDS = {
    "doctor": ("robo4d.doctor:doctor", "what this machine has, and what to do about each thing missing"),
    "collect": ("robo4d.episodes.collect:collect", "demonstrations in the simulated cell, as a data set"),
    "export-states": ("robo4d.episodes.states:export_states", "a data set without images, as one small file"),
    "render": ("robo4d.episodes.render:render", "images of recorded states"),
    "view": ("robo4d.episodes.view:view", "an episode as contact sheet, video and rerun recording"),
    "experts": ("robo4d.sim.experts:experts", "success, duration and smoothness of the scripted experts"),
    "eval": ("robo4d_models.evaluate:evaluate", "errors of predicted videos and of the poses read from them"),
    "rollout": ("robo4d.rollout.command:rollout", "closed-loop success over unseen starts and cameras"),
    "compare-rollouts": ("robo4d.rollout.compare:compare_rollouts", "what loses the starts that the oracle solves"),
    "bench sim": ("robo4d.sim.bench:bench_sim", "speed of the simulated cell, and agreement of its views"),
    "bench tracker": ("robo4d.tracking.bench:bench_tracker", "errors, confidence and cost of following the grippers"),
    "bench planner": ("robo4d.planning.bench:bench_planner", "time and accuracy of planning, and the limits it keeps"),
    "bench transport": ("robo4d_ros.transport:bench", "loss, latency and CPU of images between two ROS processes"),
    "bench model": ("robo4d_models.video4d.bench:bench_model", "seconds and memory of one plan and of training"),
    "make-samples": ("robo4d_models.video4d.samples:make_samples", "training samples of the tiny model"),
    "train": ("robo4d_models.video4d.train:train", "a model from samples; goes on where it stopped"),
    "convert-checkpoint": ("robo4d_models.video4d.svd.convert:convert_checkpoint", "weights of others for `svd`"),
}
"""Name of the command, of one or two words: (function, summary)."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command; the exit status is 0 on success, 1 on a refused input, 2 on a wrong call."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        _print_commands()
        return
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    name, rest = " ".join(arguments[:words]), arguments[words:]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean `{close[0]}`?" if close else ""
        sys.exit(f"robo4d: no command `{name}`.{hint} Commands: {', '.join(COMMANDS)}")
    module, function = COMMANDS[name][0].split(":")
    try:
        command = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        sys.exit(f"robo4d {name}: {error}. Install all that it needs with `make setup`, or see `robo4d doctor`")
    try:
        sys.exit(tyro.cli(command, prog=f"robo4d {name}", args=rest))
    except ValueError as error:
        print(f"robo4d {name}: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _print_commands() -> None:
    table = Table("command", "what it does", box=None, header_style="bold")
    for name, (_, summary) in COMMANDS.items():
        table.add_row(name, summary)
    console = Console()
    console.print("robo4d COMMAND [--help]: from two RGB-D cameras to robot motion\n")
    console.print(table)
