import type { SpecOf } from '../../../shared/job-spec.ts'
import type { Pipeline } from '../pipeline.ts'
import { componentsOf } from '../restore/inner-path.ts'
import { restoreInstance } from './restore-instance.ts'
import { IntoDatasetRestore } from './restore-into.ts'
import { NewDatasetRestore } from './restore-new.ts'
import { PlacedRestore } from './restore-placed.ts'
import { named } from './steps.ts'

/**
 * A point, or files of it: staged beside its destination and put there by one rename, be that a whole dataset, or a dataset that is made for it. Files
 * of a remote point are read in ranges: of one file only the frames that hold it.
 */
export const restorePoint: Pipeline<'point.restore'> = (spec, jobId, tools) => {
  const { destination } = spec
  if (destination.kind === 'instance') return restoreInstance(spec, jobId, tools)
  const restore =
    destination.kind === 'new'
      ? new NewDatasetRestore(spec, destination.place, tools)
      : isWhole(destination)
        ? new IntoDatasetRestore(spec, destination.place, tools)
        : new PlacedRestore(spec, { ...destination, jobId }, tools)
  return {
    steps: [
      // All is undone here, as an earlier run may have come further than this one.
      { ...named('look', (context) => restore.look(context), 'restore'), undo: (context) => restore.unstage(context) },
      named('stage', (context) => restore.stage(context), 'restore'),
      { ...named('commit', (context) => restore.commit(context), 'restore'), commits: true },
      named('settle', () => restore.settle(), 'restore'),
    ],
    committed: () => restore.isCommitted,
    result: () => restore.result(),
    close: () => restore.close(),
  }
}

type Destination = SpecOf<'point.restore'>['destination']

/** The root of a dataset: what is restored takes the place of all that it holds. */
function isWhole(destination: Destination): destination is Extract<Destination, { kind: 'dataset' }> {
  return destination.kind === 'dataset' && componentsOf(destination.path, 'destination').length === 0
}
