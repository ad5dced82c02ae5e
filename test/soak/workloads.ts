/** Lists the workloads of the soak. */

import type { Workload } from './workload.ts'
import { cache } from './workloads/cache.ts'
import { expiry } from './workloads/expiry.ts'
import { followers } from './workloads/followers.ts'
import { largeSegments } from './workloads/large-segments.ts'
import { largeValues } from './workloads/large-values.ts'
import { reopening } from './workloads/reopening.ts'
import { smallSegments } from './workloads/small-segments.ts'
import { snapshots } from './workloads/snapshots.ts'
import { syncValues } from './workloads/sync-values.ts'

/** All workloads, in the order in which they run. */
export const WORKLOADS: readonly Workload[] = [
  smallSegments,
  largeSegments,
  largeValues,
  syncValues,
  expiry,
  snapshots,
  followers,
  cache,
  reopening,
]
