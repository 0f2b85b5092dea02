import type { JobKind, SpecOf } from '../../shared/job-spec.ts'
import { createDataset } from './dataset-create.ts'
import { deleteDataset } from './dataset-delete.ts'
import type { Pipeline, Pipelines, PipelineTools, Work } from './pipeline.ts'
import { cloneDataset, createSnapshot } from './snapshot-create.ts'
import { restoreSnapshot } from './snapshot-restore.ts'

/** Those of points are loaded when the first is ordered: an agent that makes none does not pay for archives and protocols. */
const PIPELINES: { readonly [Kind in JobKind]: () => Pipelines[Kind] | Promise<Pipelines[Kind]> } = {
  'dataset.create': () => createDataset,
  'dataset.delete': () => deleteDataset,
  'dataset.clone': () => cloneDataset,
  'snapshot.create': () => createSnapshot,
  'snapshot.restore': () => restoreSnapshot,
  'point.create': async () => (await import('./point/create.ts')).createPoint,
  'point.verify': async () => (await import('./point/verify.ts')).verifyPoint,
  'point.rehearse': async () => (await import('./point/rehearse.ts')).rehearsePoint,
  'point.restore': async () => (await import('./point/restore.ts')).restorePoint,
  'point.delete': async () => (await import('./point/delete.ts')).deletePoint,
  'point.trash': async () => (await import('./point/trash.ts')).trashPoint,
  'point.untrash': async () => (await import('./point/trash.ts')).untrashPoint,
  'instance.clone': async () => (await import('./instance/clone.ts')).cloneInstance,
  'instance.start': async () => (await import('./instance/start-stop.ts')).startInstance,
  'instance.stop': async () => (await import('./instance/start-stop.ts')).stopInstance,
  'instance.snapshot': async () => (await import('./instance/snapshot.ts')).snapshotInstance,
  'instance.discard': async () => (await import('./instance/discard.ts')).discardInstanceSnapshot,
  'volume.create': async () => (await import('./volume/create.ts')).createVolume,
  'volume.clone': async () => (await import('./volume/create.ts')).cloneVolume,
  'volume.snapshot': async () => (await import('./volume/change.ts')).snapshotVolume,
  'volume.resize': async () => (await import('./volume/change.ts')).resizeVolume,
  'volume.delete': async () => (await import('./volume/change.ts')).deleteVolume,
  'volume.rollback': async () => (await import('./volume/rollback.ts')).rollbackVolume,
  'lun.restore': async () => (await import('./lun/restore.ts')).restoreLun,
  'volume.restore': async () => (await import('./volume/restore.ts')).restoreVolume,
  'export.create': async () => (await import('./export/create.ts')).createExports,
  'export.delete': async () => (await import('./export/delete.ts')).deleteExports,
  'export.reconcile': async () => (await import('./export/reconcile.ts')).reconcileExports,
}

/** The steps of one order. */
export async function openWork<Kind extends JobKind>(
  spec: SpecOf<Kind> & { readonly kind: Kind },
  jobId: string,
  tools: PipelineTools,
): Promise<Work<Kind>> {
  // as: the table has each kind's own pipeline
  const pipeline = (await PIPELINES[spec.kind]()) as Pipeline<Kind>
  return pipeline(spec, jobId, tools)
}
