import { FleetError } from '../../../shared/errors.ts'
import { type LunConnection, LunSecret } from '../../../shared/volume-spec.ts'
import type { LunLogin } from '../../iscsi/connection.ts'
import type { PipelineTools } from '../pipeline.ts'

const DEFAULT_PORT = 3260
const MAX_PORT = 65_535
const MAX_ADDRESSES = 16

export interface LunOrder {
  readonly connection: LunConnection
  readonly sizeBytes: number
  readonly jobId: string
  /** What came sealed beside the order. */
  readonly secret: string | undefined
}

/**
 * How to log in to a LUN that an order lends, at addresses that this host may connect to.
 * @throws refused (none of them; no secret for CHAP), unavailable (no name of a portal can be resolved), invalid
 */
export async function lunLogin(
  { connection, sizeBytes, jobId, secret }: LunOrder,
  { points, unseal }: Pick<PipelineTools, 'points' | 'unseal'>,
  signal: AbortSignal,
): Promise<LunLogin> {
  const { portals, targetName, lun, initiator, chap } = connection
  const addresses = new Set<string>()
  let failure: unknown
  for (const portal of portals) {
    try {
      const { host, port } = endpointOf(portal)
      for (const address of await points.dialer.addresses({ host, port }, signal))
        addresses.add(address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`)
    } catch (error) {
      if (signal.aborted) throw error
      failure = error
    }
  }
  if (addresses.size === 0) throw toldOf(failure, portals)
  const opened = { targetName, lun, initiator, sizeBytes, addresses: [...addresses].slice(0, MAX_ADDRESSES) }
  if (chap === null) return { ...opened, chap: undefined }
  return { ...opened, chap: { user: chap.user, secret: chapSecret({ sealed: secret, end: `order/${jobId}`, unseal }) } }
}

/** `host`, `host:port` or `[address]:port`, perhaps with the tag of its group behind a comma. */
function endpointOf(portal: string): { readonly host: string; readonly port: number } {
  const [, bracketed, bare, port] = /^(?:\[([^\]]+)\]|([^:,[\]]+))(?::(\d+))?(?:,\d+)?$/.exec(portal) ?? []
  const host = bracketed ?? bare
  const number = port === undefined ? DEFAULT_PORT : Number(port)
  if (host === undefined || number < 1 || number > MAX_PORT)
    throw new FleetError('invalid', `portal '${portal}' is no address with a port`)
  return { host, port: number }
}

function toldOf(failure: unknown, portals: readonly string[]): unknown {
  const portal = portals.at(-1)
  if (failure instanceof FleetError)
    return failure.code === 'invalid'
      ? failure
      : new FleetError(failure.code, `portal ${portal}: ${failure.message}`, { cause: failure })
  return new FleetError('unavailable', `portal ${portal}: its name cannot be resolved`, {
    cause: failure,
    detail: String(failure),
  })
}

function chapSecret(box: {
  readonly sealed: string | undefined
  readonly end: string
  readonly unseal: PipelineTools['unseal']
}): string {
  const { sealed, end, unseal } = box
  if (sealed === undefined) throw new FleetError('refused', "the LUN's secret did not come with the order")
  if (unseal === undefined)
    throw new FleetError('refused', 'this host has no key of its own, so it can be sent no secret: enrol it')
  const secret = opened(() => LunSecret.parse(JSON.parse(unseal(Buffer.from(sealed, 'base64'), end).toString())))
  if (secret.chapSecret === undefined) throw new FleetError('refused', "the LUN's secret did not come with the order")
  return secret.chapSecret
}

function opened<Secret>(open: () => Secret): Secret {
  try {
    return open()
  } catch {
    // Without the cause: it may quote what was inside.
    throw new FleetError('refused', "the LUN's secret was not sealed for this host and this use")
  }
}
