"""What is deployed: an image that installs what the repository has, a RayJob whose numbers agree with each other."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from job.cli import parse
from job.cli.options import run_settings
from job.core.environment import BUNDLED_SAMPLE, ROOT

DEPLOY = ROOT / "job" / "deploy"
POD = {"restartPolicy", "securityContext", "containers"}
CONTAINER = {"name", "image", "securityContext", "envFrom", "ports", "resources"}
GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
KNOWN = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "spec": {
        "entrypoint", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
        "rayClusterSpec",
    },
    "spec.rayClusterSpec": {
        "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec",
        "workerGroupSpecs",
    },
    "spec.rayClusterSpec.authOptions": {"mode"},
    "spec.rayClusterSpec.autoscalerOptions": {"version", "idleTimeoutSeconds"},
    "spec.rayClusterSpec.headGroupSpec": {"rayStartParams", "template"},
}  # fmt: skip
"""Fields of KubeRay's RayJob (ray.io/v1) that are used here: a mistyped one would be refused or ignored."""


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module", params=["rayjob.yaml", "watch-raycronjob.yaml"])
def rayjob(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A RayJob, or the one that a RayCronJob makes again and again."""
    found = manifest(request.param)
    if found["kind"] == "RayCronJob":
        assert found["spec"].keys() == {"schedule", "jobTemplate"}
        found |= {"kind": "RayJob", "spec": found["spec"]["jobTemplate"]}
    return found


def test_a_round_runs_in_one_pod_on_a_schedule() -> None:
    cron = manifest("watch-cronjob.yaml")
    assert (cron["apiVersion"], cron["kind"]) == ("batch/v1", "CronJob")
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options = parse(container["args"])
    assert (options.command.name, options.once) == ("watch", True)
    assert pod["restartPolicy"] == "Never"


@pytest.fixture(scope="module")
def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines)


def steps(instruction: str) -> list[str]:
    """Return what follows an instruction of the Dockerfile, wherever it stands."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(rf"^{instruction} (.*)$", text, flags=re.MULTILINE)


def test_the_fields_of_the_rayjob_are_kuberays(rayjob: dict[str, Any]) -> None:
    for path, known in KNOWN.items():
        section = rayjob
        for name in filter(None, path.split(".")):
            section = section[name]
        assert section.keys() <= known, path
    cluster = rayjob["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        assert group.keys() <= GROUP
        assert group["template"]["spec"].keys() <= POD
        (container,) = group["template"]["spec"]["containers"]
        assert container.keys() <= CONTAINER
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "Kubernetes takes texts only"
    assert (rayjob["apiVersion"], rayjob["kind"]) == ("ray.io/v1", "RayJob")


def test_the_cluster_is_guarded_starts_empty_and_goes_away(rayjob: dict[str, Any], pinned: dict[str, str]) -> None:
    spec = rayjob["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["enableInTreeAutoscaling"]
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["minReplicas"] == workers["replicas"] == 0 < workers["maxReplicas"]
    assert spec["shutdownAfterJobFinishes"]
    assert spec["ttlSecondsAfterFinished"] > 0
    assert cluster["rayVersion"] == pinned["ray"]
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], workers)]
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in pods)
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1


def test_a_run_is_planned_for_the_workers_that_may_come(rayjob: dict[str, Any]) -> None:
    program, *arguments = shlex.split(rayjob["spec"]["entrypoint"])
    assert program in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    settings = run_settings(parse(arguments)).ray.workers
    assert settings is not None
    (workers,) = rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert settings.most == workers["maxReplicas"]
    assert str(settings.cpus) == workers["rayStartParams"]["num-cpus"]
    assert settings.memory_gib == int(workers["rayStartParams"]["memory"]) / 2**30
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["cpu"] == str(settings.cpus)
    assert int(limits["memory"].removesuffix("Gi")) >= 1.3 * settings.memory_gib, "room for Ray itself"


def test_the_image_is_of_pinned_versions_and_of_a_user_who_is_not_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (install,) = [step for step in steps("RUN") if "pip install" in step]
    assert "--constraint constraints.txt" in install
    assert "index-url" not in text
    assert "://" not in text
    (extras,) = re.findall(r"^ARG EXTRAS=(.*)$", text, flags=re.MULTILINE)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    assert steps("USER") == ["1000"]
    assert steps("ENTRYPOINT") == ['["ohlcv-models"]']
    assert all(step.startswith("python:3.11") for step in steps("FROM"))
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [source for step in steps("COPY") if "--from" not in step for source in step.split()[:-1]]
    assert {f"!{source}" for source in copied} == {line for line in ignored if line.startswith("!")}


def test_what_the_image_is_given_is_all_that_the_package_is_made_of(tmp_path: Path) -> None:
    """How an installed package works is tested in test_package."""
    for step in steps("COPY"):
        if "--from" in step:
            continue
        *sources, target = step.split()
        for source in sources:
            place = tmp_path / target / (source if len(sources) > 1 else "")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "built")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "built").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    code = {path.relative_to(ROOT).as_posix() for part in ("job", "transforms") for path in (ROOT / part).rglob("*.py")}
    sample = {f"job/sample/{path.relative_to(BUNDLED_SAMPLE).as_posix()}" for path in BUNDLED_SAMPLE.rglob("*.parquet")}
    assert code | sample <= names
