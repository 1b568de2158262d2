// The clock behind hw_mark: how long each kernel of a program compiled with marks takes on each thread.
#pragma once

#include "runtime/Abi.h"
