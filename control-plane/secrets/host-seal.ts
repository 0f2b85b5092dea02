import { FleetError } from '../../shared/errors.ts'
import { sealFor } from '../../shared/sealed-box.ts'
import type { HostSeal } from '../core/secrets.ts'

/** @param keyOf the public key that a host enrolled with. */
export function createHostSeal(keyOf: (host: string) => Promise<Buffer | undefined>): HostSeal {
  return {
    async seal(host, secret, context) {
      const key = await keyOf(host)
      if (key === undefined) throw new FleetError('refused', `host '${host}' has no key that secrets are sealed with`)
      return sealFor(key, secret, context).toString('base64')
    },
  }
}
