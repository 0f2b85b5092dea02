import { FleetError } from '../../shared/errors.ts'
import { BlockMetadata, BlockWords } from './block-requests.ts'
import { actingOn } from './block-rules.ts'
import type { BlockSnapshotChange, BlockSnapshotRow, BlockVolumeRow } from './block-store.ts'
import { type Caller, requireRole, visibleGroup } from './caller.ts'
import { checkKept } from './check-request.ts'
import { type Condition, requireCondition } from './condition.ts'

type Change = BlockSnapshotChange

/** What is done alike with volumes and with snapshots: finding them, and what clients write beside them. */
export function createBlockWords<Row extends BlockVolumeRow | BlockSnapshotRow>(deps: {
  readonly noun: 'volume' | 'snapshot'
  /** As the audit has it. */
  readonly operation: string
  readonly store: {
    find(groupId: string | null, id: string): Promise<Row | undefined>
    change(
      caller: Caller,
      id: string,
      decide: (row: Row) => Change | undefined,
      told: { readonly operation: string },
    ): Promise<Row>
  }
}) {
  const { noun, operation, store } = deps

  async function find(caller: Caller, id: string): Promise<Row> {
    const found = await store.find(visibleGroup(caller), id)
    if (found === undefined) throw new FleetError('not_found', `there is no ${noun} ${id}`)
    return found
  }

  /** Whoever may work on it, acting for its group. @throws forbidden, not_found */
  async function acting(caller: Caller, id: string) {
    requireRole(caller, 'operator')
    const row = await find(caller, id)
    return { row, by: actingOn(caller, row) }
  }

  async function describe(
    caller: Caller,
    id: string,
    ifMatch: Condition<Row> | undefined,
    change: (row: Row) => Change,
  ): Promise<Row> {
    const { by } = await acting(caller, id)
    const decide = (row: Row) => {
      requireCondition(ifMatch, row)
      return change(row)
    }
    return store.change(by, id, decide, { operation })
  }

  return {
    find,
    acting,

    async update(
      caller: Caller,
      id: string,
      words: { readonly name?: string | null; readonly description?: string | null },
      ifMatch?: Condition<Row>,
    ): Promise<Row> {
      checkKept(BlockWords, words)
      return describe(caller, id, ifMatch, () => words)
    },

    setMetadata: (
      caller: Caller,
      id: string,
      metadata: Readonly<Record<string, string>>,
      replace: boolean,
      ifMatch?: Condition<Row>,
    ): Promise<Row> =>
      describe(caller, id, ifMatch, (row) => ({
        metadata: checkKept(BlockMetadata, replace ? metadata : { ...row.metadata, ...metadata }),
      })),

    deleteMetadata: (caller: Caller, id: string, key: string, ifMatch?: Condition<Row>): Promise<Row> =>
      describe(caller, id, ifMatch, (row) => {
        if (!Object.hasOwn(row.metadata, key)) {
          throw new FleetError('not_found', `${noun} ${id} has no metadata '${key}'`)
        }
        const { [key]: _, ...metadata } = row.metadata
        return { metadata }
      }),
  }
}
