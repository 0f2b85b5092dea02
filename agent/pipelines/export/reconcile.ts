import { FleetError } from '../../../shared/errors.ts'
import type { ExportSecrets, ExportsReconciled, WantedExport } from '../../../shared/volume-spec.ts'
import type { KeptExport } from '../../export/export-keeper.ts'
import type { Volume } from '../../volumes/volumes.ts'
import type { Pipeline, PipelineTools, StepContext } from '../pipeline.ts'
import { named } from '../point/steps.ts'
import { ElementList } from './element-list.ts'
import { chapOf, openSecrets } from './secrets.ts'
import { byPool, eachAlone, isSamePlace, keyOf } from './volume-groups.ts'

/** More are logged, and not told. */
const MAX_ERRORS = 1_000

/**
 * This host exports what is wanted and nothing else. Every step brings it nearer and none is taken back: one that ends in the middle is
 * made up for by the next.
 */
export const reconcileExports: Pipeline<'export.reconcile'> = (spec, jobId, tools) => {
  const reconciliation = new Reconciliation(spec.exports, jobId, tools)
  return {
    steps: [
      { ...named('look', async (context) => reconciliation.look(context), 'export'), commits: true },
      named('remove', (context) => reconciliation.remove(context), 'export'),
      named('targets', (context) => reconciliation.add(context), 'export'),
    ],
    result: () => reconciliation.result(),
  }
}

interface Wanted extends WantedExport {
  readonly n: number
}

interface Stale {
  readonly n: number
  readonly wwn: string
}

class Reconciliation {
  readonly #wanted: ElementList<'targets', Wanted>
  #stale = new ElementList<'remove', Stale>([], ['remove'])
  readonly #jobId: string
  readonly #tools: PipelineTools
  readonly #volumes = new Map<Wanted, Volume>()
  #secrets: ExportSecrets = {}
  #made = 0

  constructor(exports: readonly WantedExport[], jobId: string, tools: PipelineTools) {
    this.#wanted = new ElementList(
      exports.map((wanted, n) => ({ ...wanted, n })),
      ['targets'],
    )
    this.#jobId = jobId
    this.#tools = tools
  }

  look(context: StepContext): void {
    this.#secrets = openSecrets(context, this.#tools)
    this.#wanted.check((wanted) => void chapOf(this.#secrets, wanted))
    const places = new Map(this.#wanted.all.map(({ wwn, place }) => [wwn, place]))
    const stale = this.#tools.exports.kept().filter(({ wwn, place }) => {
      const wanted = places.get(wwn)
      return wanted === undefined || !isSamePlace(wanted, place)
    })
    this.#stale = new ElementList(
      stale.map(({ wwn }, n) => ({ n, wwn })),
      ['remove'],
    )
  }

  async remove(context: StepContext): Promise<void> {
    await this.#stale.pass('remove', this.#stale.all, context, (part) =>
      this.#tools.exports.remove(
        part.map(({ wwn }) => ({ wwn, force: true })),
        context.signal,
      ),
    )
  }

  async add(context: StepContext): Promise<void> {
    const missing = this.#wanted.going.filter((wanted) => !stands(this.#tools.exports.find(wanted.wwn), wanted))
    await this.#wanted.pass('targets', missing, context, async (part) => {
      const looks = await byPool(part, this.#tools, (volumes, some) =>
        eachAlone(some, async (wanted) => {
          const found = await volumes.find(wanted.place.volume)
          if (found === undefined) throw new FleetError('not_found', `there is no volume '${keyOf(wanted.place)}'`)
          this.#volumes.set(wanted, found)
        }),
      )
      const answers = new Map<Wanted, Error | undefined>(part.map((wanted, index) => [wanted, looks[index]]))
      const found = part.flatMap((wanted) => this.#kept(wanted))
      if (found.length === 0) return looks
      await this.#dropEarlier(found, context.signal)
      const added = await this.#tools.exports.add(
        found.map(({ kept }) => kept),
        context.signal,
      )
      for (const [index, { wanted }] of found.entries()) answers.set(wanted, added[index])
      this.#made += found.filter((_, index) => added[index] === undefined).length
      return part.map((wanted) => answers.get(wanted))
    })
    for (const list of [this.#stale, this.#wanted])
      list.log(this.#tools.logger, { jobId: this.#jobId, kind: 'export.reconcile' })
  }

  result(): ExportsReconciled {
    const errors = [this.#stale, this.#wanted].flatMap((list) => list.failures())
    return {
      made: this.#made,
      removed: this.#stale.going.length,
      errors: errors.slice(0, MAX_ERRORS).map(({ element: { wwn }, code, message }) => ({ wwn, code, message })),
    }
  }

  /** What is kept of a volume that had the name before this one. */
  async #dropEarlier(found: readonly { readonly kept: KeptExport }[], signal: AbortSignal): Promise<void> {
    const earlier = found.filter(({ kept: { wwn, guid } }) => (this.#tools.exports.find(wwn)?.guid ?? guid) !== guid)
    await this.#tools.exports.remove(
      earlier.map(({ kept: { wwn } }) => ({ wwn, force: true })),
      signal,
    )
  }

  #kept(wanted: Wanted) {
    const volume = this.#volumes.get(wanted)
    if (volume === undefined) return []
    const { exportId, wwn, place, access } = wanted
    const { device, guid } = volume
    const chap = chapOf(this.#secrets, wanted)
    return [{ wanted, kept: { exportId, wwn, place, access, device, guid, chap } }]
  }
}

/** Not where a secret is asked for: whether that is the same cannot be seen. */
function stands(kept: KeptExport | undefined, { exportId, place, access }: WantedExport): boolean {
  if (kept === undefined || kept.exportId !== exportId || !isSamePlace(kept.place, place)) return false
  if (access.chapUser !== null || kept.access.chapUser !== null) return false
  if ((access.isReadonly ?? false) !== (kept.access.isReadonly ?? false)) return false
  const listed = new Set(access.initiators)
  return (
    kept.access.initiators.every((name) => listed.has(name)) && listed.size === new Set(kept.access.initiators).size
  )
}
