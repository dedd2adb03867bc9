"""The small parts of a training process; whole processes run in test_resume.py, test_loop.py and test_other_task.py."""

from types import SimpleNamespace

from pipeline.train.worker import WaitingIterator, freeze


def test_waiting_is_counted_and_closing_reaches_the_feed():
    closed = []

    def feed():
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    batches = WaitingIterator(feed())
    assert next(batches) == "a"
    assert batches.take_wait() > 0
    assert batches.take_wait() == 0
    batches.close()
    assert closed == [True]


def test_what_a_task_does_not_train_needs_no_gradient(network):
    module = network()
    module.perception.weight.requires_grad_(False)  # a task may also train what somebody froze
    task = SimpleNamespace(parameters=lambda m: [*m.perception.parameters(), *m.attention.parameters()])
    trained = freeze(task, module)
    assert [id(p) for p in trained] == [id(p) for p in task.parameters(module)]
    needs = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert needs == {"perception.weight", "perception.bias", "attention.weight", "attention.bias"}
