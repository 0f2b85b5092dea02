import { stat } from 'node:fs/promises'
import { FleetError } from '../../../shared/errors.ts'
import { IscsiName } from '../../../shared/volume-spec.ts'
import type { WantedTarget } from '../exports.ts'

/** What tgtd takes as one word: its parameters stand between commas. */
const DEVICE = /^\/[^,\p{Cc}]{1,999}$/u
const CHAP_USER = /^(?=[!-~])[ -+\--~]{0,222}[!-+\--~]$/
const MAX_SECRET_BYTES = 254

/** @throws invalid what tgtd would take for something else; not_found where the volume is away */
export async function checkWanted({ wwn, device, access }: WantedTarget): Promise<void> {
  const names = [wwn, ...access.initiators]
  if (access.initiators.length === 0 || names.some((name) => IscsiName.safeParse(name).data !== name)) {
    throw new FleetError('invalid', 'a target or initiator has no iSCSI name in lower case')
  }
  if (!DEVICE.test(device)) throw new FleetError('invalid', 'the volume has a path that cannot be exported')
  if (access.chap !== undefined) checkChap(access.chap)
  const status = await stat(device).catch(() => undefined)
  if (status === undefined || !(status.isFile() || status.isBlockDevice())) {
    throw new FleetError('not_found', 'the volume is not there', { detail: device })
  }
}

function checkChap({ user, secret }: { readonly user: string; readonly secret: string }): void {
  if (!CHAP_USER.test(user)) throw new FleetError('invalid', 'a CHAP name has only ASCII characters, and no comma')
  if (secret === '' || /\p{Cc}/u.test(secret) || Buffer.byteLength(secret) > MAX_SECRET_BYTES) {
    throw new FleetError('invalid', `a CHAP secret has 1 to ${MAX_SECRET_BYTES} bytes, and no control characters`)
  }
}
