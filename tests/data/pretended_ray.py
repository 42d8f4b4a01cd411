"""The few calls of Ray that preparation makes, with Ray's own manners: tasks are pickled, run out of order, and can be lost."""

import pickle
from types import ModuleType


def pretended_ray(cpus: int = 2, lost: int = 0) -> ModuleType:
    """A module ``ray`` in which the first ``lost`` tasks are lost with their machine."""
    ray = ModuleType("ray")
    ray.exceptions = ModuleType("ray.exceptions")
    ray.exceptions.RayError = type("RayError", (Exception,), {})
    ray.most_at_once, ray.started_with, ray.is_shut_down = 0, None, False
    unfinished, handed_over = [], []

    class Remote:
        def __init__(self, function):
            self.function = function

        def options(self, *, num_cpus: int, max_retries: int) -> "Remote":
            assert num_cpus == 1 and max_retries == 0, "attempts are counted by us"
            return self

        def remote(self, *arguments) -> object:
            assert ray.started_with is not None
            reference = object()
            unfinished.append((reference, pickle.dumps((self.function, arguments))))
            handed_over.append(reference)
            ray.most_at_once = max(ray.most_at_once, len(unfinished))
            return reference

    def init(**options):
        ray.started_with = options

    def wait(references, *, num_returns):
        assert num_returns == 1 and references
        return [references[-1]], references[:-1]  # the last first

    def get(reference):
        place = next(k for k, (other, _) in enumerate(unfinished) if other is reference)
        function, arguments = pickle.loads(unfinished.pop(place)[1])
        if handed_over.index(reference) < lost:
            raise ray.exceptions.RayError("the node is gone")
        return pickle.loads(pickle.dumps(function(*arguments)))

    def shutdown():
        ray.is_shut_down = True

    ray.init, ray.wait, ray.get, ray.shutdown, ray.remote = init, wait, get, shutdown, Remote
    ray.cluster_resources = lambda: {"CPU": float(cpus), "memory": 1e9}
    ray.cancel = lambda reference, *, force: None
    return ray
