import { FleetError, toFleetError } from '../../shared/errors.ts'
import { type Credentials, shownSecret } from '../core/credentials.ts'
import type { Keystone } from './keystone.ts'

/** Tokens that callers show for the block service behind us. */
export interface CallerTokens {
  /** Whether it is one that we gave ourselves: no other service must learn those. @throws what keeps that from being found out */
  isOurs(token: string): Promise<boolean>
  /** @throws unauthorized: it is of no project, or unknown; unavailable */
  projectOf(token: string): Promise<string>
}

/** @param deps `keystone` absent: tokens are those of `noauth`, `<user>:<project>`. */
export function createCallerTokens(deps: {
  readonly credentials: Pick<Credentials, 'find'>
  readonly keystone: Keystone | undefined
}): CallerTokens {
  const { credentials, keystone } = deps
  return {
    isOurs: (token) =>
      credentials.find(shownSecret('token', token), undefined).then(
        () => true,
        (error: unknown) => {
          const { code } = toFleetError(error)
          if (code === 'unauthorized') return false
          if (code === 'forbidden') return true
          throw error
        },
      ),

    async projectOf(token) {
      const project = keystone === undefined ? token.split(':')[1] : (await keystone.find(token)).projectId
      if (project !== undefined && /^[A-Za-z0-9_-]{1,255}$/.test(project)) return project
      throw new FleetError('unauthorized', 'the token is of no project')
    },
  }
}
