from dev import fixtures


def test_the_fixtures_comply_with_the_restricted_standard() -> None:
    deployments = [o for o in fixtures.objects() if o["kind"] == "Deployment"]
    assert [d["metadata"]["name"] for d in deployments] == ["model", "git", "a2a"]
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_secrets_come_before_what_reads_them() -> None:
    kinds = [found["kind"] for found in fixtures.objects()]
    assert kinds.index("Namespace") < kinds.index("Secret") < kinds.index("Deployment")
