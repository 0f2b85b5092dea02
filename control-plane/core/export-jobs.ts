import type { ErrorCode } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { JobSpec } from '../../shared/job-spec.ts'
import type { ExportElement, UnexportElement } from '../../shared/volume-spec.ts'
import type { DecidedElements, OrderedElement } from './export-elements.ts'
import type { PlannedJob } from './volume-book.ts'
import { laneOf } from './volume-names.ts'
import { sorted } from './volume-rules.ts'

/** One order's list must fit one message (NATS: 1 MiB), beside what is around it; elements beyond that are asked for again. */
const MAX_ORDER_BYTES = 700 * 1024
/** With the CHAP secrets, which travel sealed beside it. */
const MAX_MESSAGE_BYTES = 1_000_000
/** Quotes, colon and comma of one in their map. */
const AROUND_SECRET_BYTES = 6

/** What a CHAP secret adds to a message: sealed as part of a map, in base64. */
export function sealedBytes({ wwn, secretBytes }: { readonly wwn: string; readonly secretBytes: number }): number {
  return Math.ceil(((wwn.length + secretBytes + AROUND_SECRET_BYTES) * 4) / 3)
}

/** Whether an order fits the message that it is. */
export function fitsMessage({ spec, sealed }: { readonly spec: number; readonly sealed: number }): boolean {
  return spec <= MAX_ORDER_BYTES && spec + sealed <= MAX_MESSAGE_BYTES
}

export type AnyElement = ExportElement | UnexportElement

/** Elements that do not fit their host's order any more fail alone. @param secrets by wwn */
export function withinBounds(
  { ordered, errors }: DecidedElements<OrderedElement<AnyElement>>,
  secrets: Readonly<Record<string, string>>,
) {
  const bytes = new Map<string, { readonly spec: number; readonly sealed: number }>()
  const fitting: OrderedElement<AnyElement>[] = []
  const refused: { n: number; code: ErrorCode; message: string }[] = [...errors]
  for (const one of ordered) {
    const before = bytes.get(one.host.id) ?? { spec: 0, sealed: 0 }
    const { wwn } = one.element
    const secret = secrets[wwn]
    const size = {
      spec: before.spec + Buffer.byteLength(JSON.stringify(one.element)),
      sealed: before.sealed + (secret === undefined ? 0 : sealedBytes({ wwn, secretBytes: secret.length })),
    }
    if (!fitsMessage(size)) {
      const message = `the list is too long for host '${one.host.name}'; ask for this in another call`
      refused.push({ n: one.element.n, code: 'too_large', message })
      continue
    }
    bytes.set(one.host.id, size)
    fitting.push(one)
  }
  return { ordered: fitting, errors: refused.toSorted((a, b) => a.n - b.n) }
}

/** One a host. */
export function jobsOf(
  ordered: readonly OrderedElement<AnyElement>[],
  given: {
    readonly kind: 'export.create' | 'export.delete'
    readonly batchId: string
    readonly retryOf: string | undefined
    readonly isWaited: boolean
    readonly secrets: Readonly<Record<string, string>>
  },
): PlannedJob[] {
  const { kind, batchId, retryOf, isWaited, secrets } = given
  return [...Map.groupBy(ordered, ({ host }) => host.id).values()].flatMap((of) => {
    const [first] = of
    if (first === undefined) return []
    const elements = of.map(({ element }) => element)
    // as: all of one list are of one kind
    const spec = { kind, elements } as JobSpec
    const holds = sorted([
      ...of.flatMap((one) => one.holds),
      { lane: laneOf.exports(first.host.name), exclusive: false },
    ])
    const { host } = first
    const decision = { request: { batch: batchId }, spec, host, subject: null, holds, interactive: isWaited }
    const own = Object.fromEntries(elements.flatMap(({ wwn }) => (secrets[wwn] ? [[wwn, secrets[wwn]]] : [])))
    return [
      {
        id: newId(),
        decision: retryOf === undefined ? decision : { ...decision, retryOf },
        secrets: Object.keys(own).length === 0 ? undefined : own,
      },
    ]
  })
}
