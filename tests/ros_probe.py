"""A node for tests: it listens, publishes, calls and waits, each wait ended by an event or by a deadline."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.task import Future

DEADLINE_S = 60.0
"""No wait lasts longer; a healthy run needs a small part of it, but the machine may be busy."""


class Condition:
    """A place to wait for what other threads bring about."""

    def __init__(self) -> None:
        self._condition = threading.Condition()

    def change(self, action: Callable[[], Any]) -> None:
        """Do something that a wait may be waiting for."""
        with self._condition:
            action()
            self._condition.notify_all()

    def wait(
        self,
        predicate: Callable[[], Any],
        what: str,
        timeout_s: float = DEADLINE_S,
        instead: Callable[[], str] = str,
    ) -> Any:
        """The first true value of the predicate, evaluated after each change; `instead` tells of what came instead."""
        with self._condition:
            value = self._condition.wait_for(predicate, timeout_s)
        assert value, f"waited {timeout_s:g} s in vain for {what} {instead()}"
        return value


class Listener:
    """The messages of one topic."""

    def __init__(self, node: rclpy.node.Node, kind: type, topic: str, qos: QoSProfile) -> None:
        self.messages: list[Any] = []
        self.topic = topic
        self._arrival = Condition()
        self.subscription = node.create_subscription(
            kind, topic, lambda message: self._arrival.change(lambda: self.messages.append(message)), qos
        )

    def wait(self, accept: Callable[[Any], bool] = lambda message: True, timeout_s: float = DEADLINE_S) -> Any:
        """The first message since the last `clear` that is accepted."""
        seen = 0

        def find() -> Any:
            nonlocal seen
            while seen < len(self.messages):
                seen += 1
                if accept(self.messages[seen - 1]):
                    return self.messages[seen - 1]
            return None

        def instead() -> str:
            return f"({seen} came, the last was {str(self.messages[-1:])[:600]})"

        return self._arrival.wait(find, f"a message on {self.topic}", timeout_s, instead)

    def next(self, accept: Callable[[Any], bool] = lambda message: True, timeout_s: float = DEADLINE_S) -> Any:
        """The first accepted message that arrives from now on."""
        self.clear()
        return self.wait(accept, timeout_s)

    def clear(self) -> None:
        """Forget what has arrived."""
        self._arrival.change(self.messages.clear)


class Goal:
    """One goal of an action, from sending to result."""

    def __init__(self, probe: "Probe", client: ActionClient, goal: Any, timeout_s: float) -> None:
        self.feedback: list[Any] = []
        self._probe = probe
        # In the thread that takes the answer: rclpy drops one that comes before it has noted the question.
        sent = probe.do(lambda: client.send_goal_async(goal, lambda m: self.feedback.append(m.feedback)), timeout_s)
        self._handle = probe.result_of(sent, timeout_s)
        self.accepted: bool = self._handle.accepted
        self._result = self._handle.get_result_async() if self.accepted else None

    def result(self, timeout_s: float = DEADLINE_S) -> Any:
        """Status and result, as action_msgs and the action define them."""
        return self._probe.result_of(self._result, timeout_s)

    def cancel(self, timeout_s: float = DEADLINE_S) -> None:
        """Ask for the end of the goal."""
        self._probe.result_of(self._handle.cancel_goal_async(), timeout_s)

    @property
    def done(self) -> bool:
        """Whether the result has arrived."""
        return self._result.done()


class Probe:
    """A node that spins in the background."""

    def __init__(self, name: str = "probe") -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node(name, context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._made: list[Callable[[], Any]] = []
        self._action_clients: dict[tuple[type, str], ActionClient] = {}
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._thread.join(DEADLINE_S)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def listen(self, kind: type, topic: str, qos: QoSProfile = qos_profile_sensor_data) -> Listener:
        """Collect the messages of a topic."""
        listener = Listener(self.node, kind, topic, qos)
        self._made.append(lambda: self.node.destroy_subscription(listener.subscription))
        return listener

    def forget(self) -> None:
        """End all listeners and publishers."""
        made, self._made = self._made, []
        for destroy in made:  # in the thread that waits for them
            self.do(destroy)

    def publisher(self, kind: type, topic: str, qos: QoSProfile | int = 1, subscribers: int = 1) -> Any:
        """A publisher that so many subscribers already listen to."""
        matched = Condition()
        count = 0

        def on_match(info: Any) -> None:
            nonlocal count
            count = info.current_count

        callbacks = PublisherEventCallbacks(matched=lambda info: matched.change(lambda: on_match(info)))
        publisher = self.node.create_publisher(kind, topic, qos, event_callbacks=callbacks)
        self._made.append(lambda: self.node.destroy_publisher(publisher))
        matched.wait(lambda: count >= subscribers, f"{subscribers} subscribers of {topic}")
        return publisher

    def call(self, kind: type, name: str, request: Any = None, timeout_s: float = DEADLINE_S) -> Any:
        """The response of a service."""
        client = self.node.create_client(kind, name)
        assert client.wait_for_service(timeout_s), f"no service {name} within {timeout_s:g} s"
        return self.result_of(client.call_async(kind.Request() if request is None else request), timeout_s)

    def send_goal(self, kind: type, name: str, goal: Any, timeout_s: float = DEADLINE_S) -> Goal:
        """Send a goal and wait for its acceptance or rejection."""
        if (kind, name) not in self._action_clients:
            self._action_clients[kind, name] = ActionClient(self.node, kind, name)
        client = self._action_clients[kind, name]
        assert client.wait_for_server(timeout_s), f"no action {name} within {timeout_s:g} s"
        return Goal(self, client, goal, timeout_s)

    def get_parameters(self, node: str, *names: str) -> list[Any]:
        """The values of another node's parameters."""
        client = AsyncParameterClient(self.node, node)
        assert client.wait_for_services(DEADLINE_S), f"no parameter services of {node}"
        response = self.result_of(client.get_parameters(list(names)))
        return [rclpy.parameter.parameter_value_to_python(value) for value in response.values]

    def set_parameter(self, node: str, name: str, value: Any) -> Any:
        """Set another node's parameter: the SetParametersResult."""
        client = AsyncParameterClient(self.node, node)
        assert client.wait_for_services(DEADLINE_S), f"no parameter services of {node}"
        return self.result_of(client.set_parameters([Parameter(name, value=value)])).results[0]

    def do(self, action: Callable[[], Any], timeout_s: float = DEADLINE_S) -> Any:
        """The result of what is done in the thread that spins."""
        return self.result_of(self._executor.create_task(action), timeout_s)

    def result_of(self, future: Future, timeout_s: float = DEADLINE_S) -> Any:
        """The future's result."""
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        assert done.wait(timeout_s), f"no answer within {timeout_s:g} s"
        return future.result()


class Process:
    """A child process in a group of its own, its output kept line by line."""

    def __init__(self, command: list[str], **environment: str) -> None:
        self.lines: list[str] = []
        self._output = Condition()
        self._child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._child.pid

    def _read(self) -> None:
        for line in self._child.stdout:
            self._output.change(lambda line=line: self.lines.append(line.rstrip("\n")))

    def wait_for_line(self, part: str, timeout_s: float = DEADLINE_S) -> str:
        """The first line that contains the text."""
        try:
            return self._output.wait(lambda: next((line for line in self.lines if part in line), None), part, timeout_s)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), "the output was:", *self.lines])) from None

    def signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        self._child.send_signal(number)

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """The exit status; all output has been read then."""
        status = self._child.wait(timeout_s)
        self._reader.join(timeout_s)
        return status

    def close(self) -> None:
        """End the process and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
