import type { Pipeline } from '../pipeline.ts'
import { named } from '../point/steps.ts'
import { ExportMaking } from './export-making.ts'

/**
 * A list of volumes, cloned where they are not there, and exported. Each element fails alone and leaves nothing of itself.
 *
 * Noted what is about to be made → all clones → all devices → the exports that were not there before, which commits → those that were,
 * with the access that is asked for now. Until the commit all that was made is taken back, and nothing that was there before is changed;
 * behind it nothing is. A repeat finds by the note which of what stands is its own.
 */
export const createExports: Pipeline<'export.create'> = (spec, jobId, tools) => {
  const making = new ExportMaking(spec.elements, jobId, tools)
  return {
    steps: [
      // All is undone here, as an earlier run may have come further than this one.
      { ...named('look', (context) => making.look(context), 'export'), undo: (context) => making.undo(context) },
      named('clone', (context) => making.clone(context), 'export'),
      named('devices', (context) => making.settleDevices(context), 'export'),
      { ...named('targets', (context) => making.addNew(context), 'export'), commits: true },
      named('settle', (context) => making.settle(context), 'export'),
    ],
    committed: () => making.isCommitted,
    result: () => making.result(),
  }
}
