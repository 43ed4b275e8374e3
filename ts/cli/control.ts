/** The command line's client of a node's control port. */

import * as grpc from '@grpc/grpc-js'
import { OtlakeError } from '../base/errors.js'
import { controlService } from '../node/control.js'

export const DEFAULT_CONTROL = '127.0.0.1:4321'

/** Which node, and the token it wants, if any. */
export interface Control {
  url: string
  token?: string | undefined
}

/** Calls a node; rejects with its own error, or `NODE_UNREACHABLE`. */
export async function control<Answer>(
  { url, token }: Control,
  method: string,
  request: object,
): Promise<Answer> {
  const Client = controlService()
  const address = url.replace(/^\w+:\/\//, '').replace(/\/$/, '')
  const metadata = new grpc.Metadata()
  if (token) metadata.set('authorization', `Bearer ${token}`)
  const client = new Client(address, grpc.credentials.createInsecure())
  try {
    return await new Promise<Answer>((resolve, reject) => {
      const call = client[method] as (
        request: object,
        metadata: grpc.Metadata,
        done: (error: grpc.ServiceError | null, answer: Answer) => void,
      ) => void
      call.call(client, request, metadata, (error, answer) =>
        error ? reject(error) : resolve(answer),
      )
    })
  } catch (thrown) {
    const failed = thrown as grpc.ServiceError
    const error = OtlakeError.from(new Error(failed.details, { cause: thrown }))
    if (failed.code === grpc.status.UNAVAILABLE && error.code === 'INTERNAL') {
      throw new OtlakeError('NODE_UNREACHABLE', `no node answers at ${url} (its control port)`, {
        cause: thrown,
      })
    }
    throw error
  } finally {
    client.close()
  }
}
