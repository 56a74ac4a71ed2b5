"""The parameters that all lists take."""

from typing import Annotated

from fastapi import Query as QueryParameter

Conditions = Annotated[str, QueryParameter(description="Conditions joined by commas")]
Orders = Annotated[str, QueryParameter(description="Fields to sort by, joined by commas")]
PageNumber = Annotated[int, QueryParameter(ge=1, description="Counts from 1")]
PerPage = Annotated[int, QueryParameter(ge=1, le=1000, description="Items on a page")]
