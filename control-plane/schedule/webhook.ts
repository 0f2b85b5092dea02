import { createHmac } from 'node:crypto'
import { type LookupAddress, lookup } from 'node:dns'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { networkInterfaces } from 'node:os'
import { type Listener, whyDenied } from '../../shared/addresses.ts'
import { FleetError } from '../../shared/errors.ts'

const TIMEOUT_MS = 10_000

export interface WebhookConfig {
  readonly url: string
  /** Of the signature. */
  readonly secret: string
  readonly allowLoopback: boolean
  /** `host:port` of the fleet's own listeners: it is not to be led there. */
  readonly ownListeners: () => readonly string[]
}

/**
 * Tells one alert: a POST of `body` with `X-Holdfast-Signature: t=<epoch seconds>,v1=<hex>`, an HMAC-SHA256 by the secret
 * of `<t>.<body>`. Redirections are not followed.
 * @throws FleetError refused (its address), unavailable, timeout.
 */
export type Webhook = (alert: { readonly id: string; readonly body: string }) => Promise<void>

export function createWebhook(config: WebhookConfig): Webhook {
  const url = new URL(config.url)
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')

  /** @throws refused. */
  function check(address: string): void {
    const { allowLoopback } = config
    const listeners = config.ownListeners().flatMap(listenerOf)
    const why = whyDenied({ address, port }, { allowLoopback, listeners, ownAddresses })
    if (why !== undefined) throw new FleetError('refused', `the webhook's address ${why}`)
  }

  /** The connection goes to an address that was checked, and to no other. */
  const checkedLookup: LookupFunction = (name, options, callback) => {
    lookup(name, { ...options, all: true }, (error, found: LookupAddress[]) => {
      if (error) return callback(error, '', 0)
      try {
        for (const { address } of found) check(address)
      } catch (denied) {
        return callback(denied as Error, '', 0) // as: check throws FleetErrors alone
      }
      if (options.all) return callback(null, found)
      callback(null, found[0]?.address ?? '', found[0]?.family ?? 0)
    })
  }

  return ({ id, body }) =>
    new Promise((resolve, reject) => {
      if (isIP(host) !== 0) check(host)
      const seconds = Math.floor(Date.now() / 1000)
      const signature = createHmac('sha256', config.secret).update(`${seconds}.${body}`).digest('hex')
      const request = send(url, {
        method: 'POST',
        agent: false,
        lookup: checkedLookup,
        signal: AbortSignal.timeout(TIMEOUT_MS),
        headers: {
          'Content-Type': 'application/json',
          'Content-Length': Buffer.byteLength(body),
          'X-Holdfast-Alert': id,
          'X-Holdfast-Signature': `t=${seconds},v1=${signature}`,
        },
      })
      request.once('response', (response) => {
        response.destroy()
        const status = response.statusCode ?? 0
        if (status >= 200 && status < 300) resolve()
        else reject(new FleetError('unavailable', `the webhook answered ${status}`))
      })
      request.once('error', (error) => {
        if (error instanceof FleetError) return reject(error)
        const isLate = error.name === 'TimeoutError' || error.name === 'AbortError'
        reject(new FleetError(isLate ? 'timeout' : 'unavailable', 'the webhook does not answer', { cause: error }))
      })
      request.end(body)
    })
}

function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((addresses = []) => addresses.map(({ address }) => address))
}

function listenerOf(text: string): readonly Listener[] {
  const url = URL.parse(`tcp://${text}`)
  return url === null || url.hostname === ''
    ? []
    : [{ host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(url.port) }]
}
