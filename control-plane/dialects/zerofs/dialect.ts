import { COMMON_STATUSES, type Dialect, type Failure, type FailureCode } from '../../http/route.ts'
import { clone } from './clone.ts'
import { createDataset } from './create-dataset.ts'
import { createSnapshot } from './create-snapshot.ts'
import { deleteDataset } from './delete-dataset.ts'
import { deleteSnapshot } from './delete-snapshot.ts'
import examples from './examples.json' with { type: 'json' }
import { health, ZEROFS_VERSION } from './health.ts'
import { getDataset, listDatasets } from './read-datasets.ts'
import { getSnapshot, listSnapshots } from './read-snapshots.ts'
import { restore } from './restore.ts'
import { DatasetView, RestoreView, SnapshotView, ZerofsErrorBody } from './schemas.ts'

/** For failures that belong to no mutation; those of a mutation carry its own code (`mutation.ts`). */
const ERROR_WORDS: Readonly<Record<FailureCode, string>> = {
  invalid: 'INVALID_REQUEST',
  unauthorized: 'UNAUTHORIZED',
  forbidden: 'FORBIDDEN',
  refused: 'FORBIDDEN',
  not_found: 'DATASET_NOT_FOUND',
  no_route: 'NOT_FOUND',
  key_reused: 'INVALID_REQUEST',
  method_not_allowed: 'METHOD_NOT_ALLOWED',
  stale: 'PRECONDITION_FAILED',
  too_large: 'PAYLOAD_TOO_LARGE',
  unavailable: 'RPC_CONNECTION_FAILED',
  busy: 'RPC_CONNECTION_FAILED',
  exists: 'INTERNAL_ERROR',
  conflict: 'INTERNAL_ERROR',
  timeout: 'INTERNAL_ERROR',
  no_space: 'INTERNAL_ERROR',
  expired: 'INTERNAL_ERROR',
  cancelled: 'INTERNAL_ERROR',
  corrupt: 'INTERNAL_ERROR',
  internal: 'INTERNAL_ERROR',
}

function errorBody({ code, message }: Failure) {
  return { error: ERROR_WORDS[code], message }
}

export const zerofs: Dialect = {
  name: 'zerofs',
  title: 'ZeroFS REST API',
  version: ZEROFS_VERSION,
  description: 'Datasets and snapshots, as ZeroFS serves them to Kubernetes CSI drivers. Mutations answer when done.',
  owns: ['/health', '/api/v1/datasets', '/api/v1/snapshots', '/api/v1/clone'],
  statuses: {
    ...COMMON_STATUSES,
    key_reused: 400,
    exists: 500,
    conflict: 500,
    timeout: 500,
    no_space: 500,
    expired: 500,
    cancelled: 500,
  },
  errorBody,
  errorSchema: ZerofsErrorBody,
  schemas: { Dataset: DatasetView, Snapshot: SnapshotView, Restored: RestoreView, Error: ZerofsErrorBody },
  routes: [
    health,
    listDatasets,
    getDataset,
    createDataset,
    deleteDataset,
    clone,
    listSnapshots,
    getSnapshot,
    createSnapshot,
    deleteSnapshot,
    restore,
  ],
  examples,
}
