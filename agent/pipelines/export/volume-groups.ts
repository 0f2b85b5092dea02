import type { VolumePlace } from '../../../shared/volume-spec.ts'
import type { Volumes } from '../../volumes/volumes.ts'
import type { PipelineTools } from '../pipeline.ts'
import type { Answers } from './element-list.ts'

/** Calls about one volume each that are under way at a time. */
const AT_A_TIME = 16

interface Placed {
  readonly place: VolumePlace
}

export function isSamePlace(one: VolumePlace, other: VolumePlace): boolean {
  return one.pool === other.pool && one.volume === other.volume
}

export function keyOf({ pool, volume }: VolumePlace): string {
  return `${pool}/${volume}`
}

/**
 * One call a pool, all pools at once; those of a pool that this agent has not, or whose call throws, fail by that.
 * @returns answers in the elements' sequence
 */
export async function byPool<Element extends Placed>(
  elements: readonly Element[],
  tools: Pick<PipelineTools, 'volumes'>,
  call: (volumes: Volumes, some: readonly Element[]) => Promise<Answers>,
): Promise<Answers> {
  const answers = new Map<Element, Error | undefined>()
  const groups = [...Map.groupBy(elements, ({ place }) => place.pool)]
  const told = await eachAlone(groups, async ([pool, some]) => {
    const each = await call(tools.volumes(pool), some)
    for (const [index, element] of some.entries()) answers.set(element, each[index])
  })
  for (const [index, [, some]] of groups.entries())
    if (told[index] !== undefined) for (const element of some) answers.set(element, told[index])
  return elements.map((element) => answers.get(element))
}

/** A call an element, some at a time. @returns what each threw */
export async function eachAlone<Element>(
  elements: readonly Element[],
  act: (element: Element) => Promise<unknown>,
): Promise<Answers> {
  const answers = elements.map((): Error | undefined => undefined)
  const left = elements.entries()
  const worker = async () => {
    for (const [index, element] of left) {
      try {
        await act(element)
      } catch (thrown) {
        answers[index] = thrown instanceof Error ? thrown : new Error(String(thrown))
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(AT_A_TIME, elements.length) }, worker))
  return answers
}
