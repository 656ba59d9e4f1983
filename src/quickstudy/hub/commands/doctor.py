"""`quickstudy doctor`."""

from quickstudy.hub.commands.options import Json


def doctor(json: Json = False) -> None:
    """Show versions, devices, the data cache, free disk and threads.

    Examples:
      quickstudy doctor
      quickstudy doctor --json
    """
    from quickstudy.hub import screen
    from quickstudy.hub.doctor import examine

    facts = examine()
    if json:
        screen.print_json(facts)
        return
    console = screen.out()
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    devices = ", ".join(f"{kind} ({n})" for kind, n in facts["devices"].items())
    held = ", ".join(n for n, file in facts["cache"]["holds"].items() if file) or "nothing yet"
    free = ", ".join(f"{v / 2**30:.1f} GB in {k}" for k, v in facts["disk_free_bytes"].items())
    rows = {
        "quickstudy": f"{facts['quickstudy']}, Python {facts['python']}, {facts['platform']}",
        "packages": packages,
        "devices": ", ".join([devices, *facts["cuda_devices"]]),
        "threads": f"{facts['threads']['torch']} of {facts['threads']['cores']} cores",
        "data cache": f"{facts['cache']['folder']} holds {held}",
        "disk": f"{free} free",
    }
    for name, value in rows.items():
        console.print(f"{name:<12} {value}", markup=False)
    for problem in facts["problems"]:
        console.print(f"{'problem':<12} {problem}", markup=False)
