"""The entry point: the functions of this app, and the export of their telemetry."""

import logging
import os

import azure.functions as func

from notify_event_hub.function import blueprint as notify_event_hub
from notify_http.function import blueprint as notify_http
from process_queue.function import blueprint as process_queue
from renew_timer.function import blueprint as renew_timer
from shared import exporting

# The SDK logs each request and each answer at INFO: a tenth of the worker's time behind the queue, and 3 KB for each
# notification in Application Insights, since Azure's worker takes everything from INFO on.
for library in ("azure", "urllib3"):
    logging.getLogger(library).setLevel(logging.WARNING)
exporting.start(os.environ)
app = func.FunctionApp()
for function in (notify_http, notify_event_hub, process_queue, renew_timer):
    app.register_functions(function)
