import type { JobKind, SpecOf } from '../../shared/job-spec.ts'
import { createDataset } from './dataset-create.ts'
import { deleteDataset } from './dataset-delete.ts'
import type { Pipelines, PipelineTools, Work } from './pipeline.ts'
import { cloneDataset, createSnapshot } from './snapshot-create.ts'
import { restoreSnapshot } from './snapshot-restore.ts'

const PIPELINES: Pipelines = {
  'dataset.create': createDataset,
  'dataset.delete': deleteDataset,
  'dataset.clone': cloneDataset,
  'snapshot.create': createSnapshot,
  'snapshot.restore': restoreSnapshot,
}

/** The steps of one order. */
export function openWork<Kind extends JobKind>(
  spec: SpecOf<Kind> & { readonly kind: Kind },
  jobId: string,
  tools: PipelineTools,
): Work<Kind> {
  return PIPELINES[spec.kind](spec, jobId, tools)
}
