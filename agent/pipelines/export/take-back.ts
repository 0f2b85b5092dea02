import type { ExportElement } from '../../../shared/volume-spec.ts'
import type { Volumes } from '../../volumes/volumes.ts'
import type { PipelineTools } from '../pipeline.ts'
import type { Answers } from './element-list.ts'
import { byPool, eachAlone, isSamePlace } from './volume-groups.ts'

interface Made {
  clones(element: ExportElement): boolean
  exports(element: ExportElement): boolean
}

/**
 * Removes of what elements made: their exports with whoever is logged in, then their clones. A volume that something else exports by now,
 * or that was cloned from something else, is another's and stays.
 * @returns for each element why something of it is left
 */
export async function takeBack(
  elements: readonly ExportElement[],
  made: Made,
  tools: Pick<PipelineTools, 'volumes' | 'exports'>,
  signal: AbortSignal,
): Promise<Answers> {
  const left = new Map<ExportElement, Error>()
  const exported = elements.filter((element) => {
    const kept = tools.exports.find(element.wwn)
    if (kept === undefined || !made.exports(element)) return false
    return kept.exportId === element.exportId && isSamePlace(kept.place, element.place)
  })
  if (exported.length > 0) {
    const answers = await tools.exports.remove(
      exported.map(({ wwn }) => ({ wwn, force: true })),
      signal,
    )
    note(left, exported, answers)
  }
  const cloned = elements.filter((element) => made.clones(element) && !left.has(element))
  const answers = await byPool(cloned, tools, (volumes, some) =>
    eachAlone(some, (element) => destroyOwn(element, { volumes, tools, signal })),
  )
  note(left, cloned, answers)
  return elements.map((element) => left.get(element))
}

async function destroyOwn(
  { place, source }: ExportElement,
  by: {
    readonly volumes: Volumes
    readonly tools: Pick<PipelineTools, 'exports'>
    readonly signal: AbortSignal
  },
): Promise<void> {
  if (by.tools.exports.ofVolume(place).length > 0) return
  const found = await by.volumes.find(place.volume)
  if (found?.origin === undefined || source === null) return
  if (found.origin.snapshot !== source.snapshot || found.origin.path !== source.volume) return
  await by.volumes.destroy(place.volume, { signal: by.signal, progress: () => undefined })
}

function note(left: Map<ExportElement, Error>, elements: readonly ExportElement[], answers: Answers): void {
  for (const [index, element] of elements.entries()) {
    const thrown = answers[index]
    if (thrown !== undefined) left.set(element, thrown)
  }
}
