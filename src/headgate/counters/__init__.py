"""Counters: integers in slots, one shared page for each process, that survive a crash.

Every metric is a row of one table; its index is a constant, so that the hot path does `values[REQUESTS_2XX] += 1` on
a plain list and nothing there can raise or reach for an object that may be missing (invariant W1). A gauge is
written the same way, by its owner.

Each module holds the metrics of one purpose, and a new metric is a line there. Others import all names from this
package, and so fill the table in one order, that below, which is also the order on the page of metrics. It costs them
nothing: mypyc reads a constant where it was defined.
"""

from headgate.counters.table import TABLE as TABLE
from headgate.counters.table import Metric as Metric
from headgate.counters.exchanges import *
from headgate.counters.connections import *
from headgate.counters.tls import *
from headgate.counters.limits import *
from headgate.counters.origins import *
from headgate.counters.cache import *
from headgate.counters.asgi import *
from headgate.counters.forward import *
from headgate.counters.staples import *
from headgate.counters.quic import *
from headgate.counters.h2 import *
from headgate.counters.process import *
from headgate.counters.page import SIZE as SIZE
from headgate.counters.page import CounterPage as CounterPage
from headgate.counters.page import Counters as Counters
