"""The backend as one project sees it: pages and wire read and write through it, and only so.

What is another project's does not exist here: no list, no id, no `after` and no error tells of it.
Names of base models are those that clients know: a model that lies in a folder has a name of the
operator's choice, and no path ever leaves.  Callers with the scope admin, and whoever is on this
machine where no key was made, see everything.

What projects can still learn of each other: how busy the machine is, by how long they wait; the
names that base models have; and, with a backend that knows files by their bytes (the local one),
that the id of a file is the same for whoever has the same bytes, name and purpose, which two
projects can find out together.  Such a file is stored a second time in no less time than the first.
With a hosted backend whose tuned models have names like those of base models, a tuned model can be
taken for a base model in the moment in which the service lists it and its job does not name it yet.
"""

from __future__ import annotations

from ftjobs.server.projects.jobs import Verb
from ftjobs.server.projects.models import Models
from ftjobs.server.projects.uploads import Uploads
from ftjobs.server.projects.view import Rooms

__all__ = ["Project", "Rooms", "Verb"]


class Project(Uploads, Models):
    """What one caller can do; made for each request."""
