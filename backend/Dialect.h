// The backend's own ops.
#pragma once
#include "ir/Dialects.h"

#include "backend/BackendDialect.h.inc"
#define GET_OP_CLASSES
#include "backend/BackendOps.h.inc"
