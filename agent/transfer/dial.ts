import { type LookupAddress, lookup } from 'node:dns'
import { connect, isIP, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { promisify } from 'node:util'
import { abortable } from '../../shared/abortable.ts'
import { type AddressPolicy, type Listener, whyDenied } from '../../shared/addresses.ts'
import { FleetError } from '../../shared/errors.ts'

const CONNECT_TIMEOUT_MS = 10_000
const MAX_ADDRESSES = 16

/** How names become addresses; tests pass their own. */
export type Resolve = (host: string) => Promise<readonly LookupAddress[]>

const lookupAll = promisify(lookup)
/** The system's own resolver, which also reads `2130706433` and `0177.0.0.1` as 127.0.0.1. */
const resolveBySystem: Resolve = (host) => lookupAll(host, { all: true })

export interface Dialer {
  /**
   * Connects to an address that was checked: it is resolved once, every address it has must be allowed, and the connection
   * goes to one of those. @throws FleetError `refused`, `unavailable`, `timeout`, `cancelled`, or the system's error
   */
  dial(endpoint: Endpoint, signal: AbortSignal): Promise<Socket>
  /** All addresses of an endpoint, for what connects by itself: to those alone. @throws as `dial` */
  addresses(endpoint: Endpoint, signal: AbortSignal): Promise<readonly string[]>
}

export interface Endpoint {
  readonly host: string
  readonly port: number
}

function machineAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) => addresses?.map(({ address }) => address) ?? [])
}

/** What configuration says; this machine's addresses are looked up. */
export type DialPolicy = Omit<AddressPolicy, 'ownAddresses'> & Partial<Pick<AddressPolicy, 'ownAddresses'>>

export function createDialer(given: DialPolicy, resolve: Resolve = resolveBySystem): Dialer {
  const policy: AddressPolicy = { ownAddresses: machineAddresses, ...given }
  async function allowed({ host, port }: Endpoint, bound: AbortSignal): Promise<readonly LookupAddress[]> {
    const found = await abortable(addressesOf(host, resolve), bound)
    const listeners = await abortable(resolved(policy.listeners, port, resolve), bound)
    for (const { address } of found) {
      const why = whyDenied({ address, port }, policy, listeners)
      if (why !== undefined) throw new FleetError('refused', `its address ${why}`, { detail: `${host} is ${address}` })
    }
    return found
  }

  async function bounded<Result>(act: (bound: AbortSignal) => Promise<Result>, signal: AbortSignal): Promise<Result> {
    const bound = AbortSignal.any([signal, AbortSignal.timeout(CONNECT_TIMEOUT_MS)])
    try {
      return await act(bound)
    } catch (error) {
      if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
      if (bound.aborted) throw new FleetError('timeout', 'does not answer', { cause: error })
      throw error
    }
  }

  return {
    dial: (endpoint, signal) =>
      bounded(async (bound) => connectToOne(await allowed(endpoint, bound), endpoint.port, bound), signal),

    addresses: (endpoint, signal) =>
      bounded(async (bound) => (await allowed(endpoint, bound)).map(({ address }) => address), signal),
  }
}

async function addressesOf(host: string, resolve: Resolve): Promise<readonly LookupAddress[]> {
  const bare = host.replace(/^\[(.*)\]$/, '$1')
  const family = isIP(bare)
  if (family !== 0) return [{ address: bare, family }]
  const found = await resolve(bare)
  if (found.length === 0) throw new FleetError('unavailable', 'has a name that cannot be resolved')
  return found.slice(0, MAX_ADDRESSES)
}

/** The listeners on a port, by address. One whose name does not resolve cannot be recognised and is left out. */
async function resolved(listeners: readonly Listener[], port: number, resolve: Resolve): Promise<readonly Listener[]> {
  const sameport = listeners.filter((listener) => listener.port === port)
  const lists = await Promise.all(
    sameport.map(async (listener) => {
      const addresses = await addressesOf(listener.host, resolve).catch(() => [])
      return addresses.map(({ address }) => ({ host: address, port }))
    }),
  )
  return lists.flat()
}

async function connectToOne(addresses: readonly LookupAddress[], port: number, signal: AbortSignal): Promise<Socket> {
  let last: unknown
  for (const { address } of addresses) {
    try {
      return await connected(address, port, signal)
    } catch (error) {
      if (signal.aborted) throw error
      last = error
    }
  }
  throw last
}

function connected(address: string, port: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, noDelay: true, keepAlive: true })
    const fail = (error: unknown) => {
      signal.removeEventListener('abort', onAbort)
      socket.destroy()
      reject(error)
    }
    const onAbort = () => fail(signal.reason)
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    socket.once('error', fail)
    socket.once('connect', () => {
      signal.removeEventListener('abort', onAbort)
      socket.off('error', fail)
      resolve(socket)
    })
  })
}
