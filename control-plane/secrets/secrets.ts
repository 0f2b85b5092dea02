import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { SealedRow, SealedRows, Secrets } from '../core/secrets.ts'
import type { Place, Vault } from './vault.ts'

/** A secret is bound to its row and to whose and what it is: none of these can be changed without it. */
export function placeOf({ id, groupId, kind }: Omit<SealedRow, 'sealed' | 'keyId'>): Place {
  return { table: 'secret', id, field: `${kind} of ${groupId ?? 'the fleet'}` }
}

export function createSecrets(deps: {
  readonly rows: Pick<SealedRows, 'insert' | 'find' | 'reseal' | 'remove'>
  readonly vault: Vault
}): Secrets {
  const { rows, vault } = deps

  async function find(id: string): Promise<SealedRow> {
    const row = await rows.find(id)
    if (row === undefined) throw new FleetError('not_found', `there is no secret '${id}'`)
    return row
  }

  return {
    async put({ groupId, kind, bytes }) {
      const named = { id: newId(), groupId, kind }
      await rows.insert({ ...named, sealed: vault.seal(placeOf(named), bytes), keyId: vault.keyId })
      return named.id
    },

    async replace(id, bytes) {
      const row = await find(id)
      const sealed = vault.seal(placeOf(row), bytes)
      if (await rows.reseal({ id, sealed, keyId: vault.keyId })) return
      throw new FleetError('not_found', `there is no secret '${id}'`)
    },

    async open(id) {
      const row = await find(id)
      return vault.open(placeOf(row), row.sealed)
    },

    delete: (id) => rows.remove(id),
  }
}
