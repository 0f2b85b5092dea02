import assert from 'node:assert/strict'
import { FleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import type { Watch } from '../../drivers/driver.ts'
import { asFleetError } from '../../native/system-error.ts'

/** So many elements are asked for by one call: between two of them a job can be cancelled, and tells how far it is. */
const CALL_ELEMENTS = 100
const MS_PER_SECOND = 1_000

interface Failure {
  readonly n: number
  readonly code: string
  readonly message: string
}

/** What an element of a call comes to; undefined for one that went well. */
export type Answers = readonly (Error | undefined)[]

/** How far the elements of one order are: which of them failed, and which went through which phase. */
export class ElementList<Phase extends string, Element extends { readonly n: number }> {
  readonly all: readonly Element[]
  readonly #phases: readonly Phase[]
  readonly #through: ReadonlyMap<Phase, Set<Element>>
  readonly #failures = new Map<Element, FleetError>()
  readonly #seconds = new Map<Phase, number>()

  /** @param phases an element that went through the last of them has ended */
  constructor(all: readonly Element[], phases: readonly Phase[]) {
    this.all = all
    this.#phases = phases
    this.#through = new Map(phases.map((phase) => [phase, new Set()]))
  }

  /** Those that did not fail. */
  get going(): readonly Element[] {
    return this.all.filter((element) => !this.#failures.has(element))
  }

  hasFailed(element: Element): boolean {
    return this.#failures.has(element)
  }

  notThrough(phase: Phase): readonly Element[] {
    return this.all.filter((element) => this.#through.get(phase)?.has(element) !== true)
  }

  /** Ends it by a failed system call or a FleetError. @throws what is neither: a bug ends the job */
  fail(element: Element, thrown: unknown): void {
    const failure = asFleetError(thrown, 'volume')
    if (!(failure instanceof FleetError)) throw failure
    if (!this.#failures.has(element)) this.#failures.set(element, failure)
    for (const passed of this.#through.values()) passed.add(element)
  }

  /** One that failed, and that left something. */
  failWorse(element: Element, left: Error): void {
    const failure = this.#failures.get(element)
    assert(failure)
    const detail = [failure.detail, `left: ${left}`].filter(Boolean).join('; ')
    const message = `${failure.message}; not all of it could be taken back`
    this.#failures.set(element, new FleetError(failure.code, message, { detail, left: true, cause: failure.cause }))
  }

  /** Fails each whose check throws. */
  check(check: (element: Element) => void): void {
    for (const element of this.going) {
      try {
        check(element)
      } catch (thrown) {
        this.fail(element, thrown)
      }
    }
  }

  /**
   * Some elements through a phase, by one call for many. Each fails by its own answer, or with all of its call by what that throws.
   * @throws the signal's reason, between two calls
   */
  async pass(
    phase: Phase,
    some: readonly Element[],
    watch: Watch,
    call: (part: readonly Element[]) => Promise<Answers>,
  ): Promise<void> {
    const startedMs = performance.now()
    try {
      for (let at = 0; at < some.length; at += CALL_ELEMENTS) {
        this.#tell(phase, watch)
        const part = some.slice(at, at + CALL_ELEMENTS)
        const answers = await answersOf(part, call, watch.signal)
        for (const [index, element] of part.entries()) {
          if (answers[index] === undefined) this.#through.get(phase)?.add(element)
          else this.fail(element, answers[index])
        }
        watch.signal.throwIfAborted()
      }
      this.#tell(phase, watch)
    } finally {
      const seconds = (performance.now() - startedMs) / MS_PER_SECOND
      this.#seconds.set(phase, this.secondsOf(phase) + seconds)
    }
  }

  secondsOf(phase: Phase): number {
    return this.#seconds.get(phase) ?? 0
  }

  failures(): readonly (Failure & { readonly element: Element })[] {
    return [...this.#failures]
      .map(([element, { code, message }]) => ({ element, n: element.n, code, message }))
      .toSorted((one, other) => one.n - other.n)
  }

  /** A job that succeeds is logged as that; what of it did not, and why, is said here. */
  log(logger: Logger, facts: { readonly jobId: string; readonly kind: string }): void {
    for (const [{ n }, { code, message, detail, cause }] of this.#failures)
      logger.warn({
        event: 'job.element_failed',
        ...facts,
        ...{ n, code, message, detail },
        ...(code === 'internal' ? { err: cause } : {}),
      })
  }

  #tell(phase: Phase, { progress }: Watch): void {
    const [total, last] = [this.all.length, this.#phases.at(-1)]
    if (total === 0) return
    const passed = (of: Phase) => this.#through.get(of)?.size ?? 0
    const parts = this.#phases.reduce((sum, each) => sum + passed(each), 0)
    progress({
      phase,
      percent: Math.floor((1_000 * parts) / (total * this.#phases.length)) / 10,
      elements: passed(phase),
      endedElements: last === undefined ? 0 : passed(last),
      totalElements: total,
    })
  }
}

async function answersOf<Element>(
  part: readonly Element[],
  call: (part: readonly Element[]) => Promise<Answers>,
  signal: AbortSignal,
): Promise<readonly unknown[]> {
  signal.throwIfAborted()
  try {
    return await call(part)
  } catch (thrown) {
    signal.throwIfAborted()
    return part.map(() => thrown)
  }
}
