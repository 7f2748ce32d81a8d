"""The MLflow view of the records. Only this room imports MLflow, and only when it has something to
write.

Records are the truth. Training logs live, and `publish` makes the store agree with the records,
whatever state it was in.
"""

from ttfs.results.tracking.live import LiveRun
from ttfs.results.tracking.publish import Published, publish
from ttfs.results.tracking.store import tracking_uri, without_password
from ttfs.results.tracking.views import view_links

__all__ = ["LiveRun", "Published", "publish", "tracking_uri", "view_links", "without_password"]
