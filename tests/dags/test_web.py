"""What the plugin mounts on the API server."""

import pytest

from billing_etl.http.access import unguarded


@pytest.mark.usefixtures("airflow")
def test_every_mounted_route_is_open_on_purpose_or_guarded() -> None:
    from billing_airflow.plugin import BillingPlugin

    (mounted,) = BillingPlugin().fastapi_apps
    assert mounted["url_prefix"] == "/billing"
    assert len(mounted["app"].routes) >= 6
    assert unguarded(mounted["app"].routes) == []
    # Nor by another door: documentation that FastAPI generates, or other things that plugins mount.
    app = mounted["app"]
    assert (app.openapi_url, app.docs_url, app.redoc_url) == (None, None, None)
    for name in ("fastapi_root_middlewares", "flask_blueprints", "appbuilder_views", "react_apps"):
        assert not getattr(BillingPlugin, name, None), name
