"""An experiment whose data are made on the spot and whose step takes no time."""

from dataclasses import replace

from tests.top import tiny_run

SMALL = replace(tiny_run.tagger(), data=replace(tiny_run.tagger().data, test=()))
