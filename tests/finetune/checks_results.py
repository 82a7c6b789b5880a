"""What tests of checks compare."""


def worst_by_check(results):
    """The worst status of each check that did not pass."""
    found = {}
    for result in results:
        if result.status != "pass":
            found[result.check] = max(
                result.status, found.get(result.check, "warn"), key=["warn", "fail"].index
            )
    return found
