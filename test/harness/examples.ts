import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import type { Example } from '../../control-plane/http/route.ts'
import { createFinder, servedDocument } from './document.ts'
import type { Replayed } from './replay.ts'

/** Of each status of an operation; more would bury the reader. */
const EXAMPLES_MAX = 3

/** What differs from run to run of a test, and what a reader need not see. */
function withoutTraces(text: string, run: string): string {
  return text
    .replaceAll(`-${run}`, '')
    .replaceAll(/\/(?:var\/)?tmp\/holdfast-[^/"]+(?:\/[a-z0-9-]+)*?(?=\/datasets\/)/g, '/srv/pool')
}

/** Collects the examples that the OpenAPI document shows. */
export function createExampleRecorder() {
  const find = createFinder(servedDocument())
  const examples: Example[] = []

  return {
    onStep({ name, method, path, sent, status, received, run }: Replayed): void {
      const found = find(method, path.split('?')[0] ?? '')
      // A text that is no JSON shows what not to do.
      if (!found || method === 'HEAD' || typeof sent === 'string') return
      const operation = found.operation.operationId.split('.').slice(1).join('.')
      if (examples.filter((known) => known.operation === operation && known.status === status).length >= EXAMPLES_MAX)
        return
      const example = {
        operation,
        name,
        status,
        ...(sent === undefined ? {} : { request: sent }),
        ...(received === undefined ? {} : { response: received }),
      }
      examples.push(JSON.parse(withoutTraces(JSON.stringify(example), run)))
    },

    /**
     * Writes them when HOLDFAST_RECORD is set.
     * @returns which statuses of which operations the file lacks, or has beside what happened.
     */
    async compareWith(file: string): Promise<readonly string[]> {
      if (process.env.HOLDFAST_RECORD !== undefined) await writeFile(file, `${JSON.stringify(examples, null, 2)}\n`)
      const kept: Example[] = existsSync(file) ? JSON.parse(await readFile(file, 'utf8')) : []
      const namesOf = (list: readonly Example[]) =>
        new Set(list.map((one) => `${one.operation} ${one.status} ${one.name}`))
      return [...namesOf(kept).symmetricDifference(namesOf(examples))]
    },
  }
}
