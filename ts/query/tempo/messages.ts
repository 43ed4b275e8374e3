/** The engine's JSON as the messages of Tempo's API: JSON passes through, protobuf is made of it. */

import { create, type DescMessage, fromJson, type MessageShape, toBinary } from '@bufbuild/protobuf'
import type { Answer } from '../../native/traceql.js'
import {
  QueryInstantResponseSchema,
  QueryRangeResponseSchema,
  SearchResponseSchema,
  SearchTagsResponseSchema,
  SearchTagsV2ResponseSchema,
  SearchTagValuesResponseSchema,
  SearchTagValuesV2ResponseSchema,
} from './generated/tempo_pb.js'

/** A kind of answer: its schema, and how it is made of what the engine gave. */
export interface Kind<Desc extends DescMessage = DescMessage> {
  schema: Desc
  message(answer: Answer): MessageShape<Desc>
}

function plain<Desc extends DescMessage>(schema: Desc): Kind<Desc> {
  // A newer engine may tell more than this schema knows.
  const options = { ignoreUnknownFields: true }
  return { schema, message: ({ json }) => fromJson(schema, JSON.parse(json), options) }
}

const tagsV2 = plain(SearchTagsV2ResponseSchema)
const tagValuesV2 = plain(SearchTagValuesV2ResponseSchema)

export const KINDS = {
  search: plain(SearchResponseSchema),
  tagsV2,
  tagValuesV2,
  metricsRange: plain(QueryRangeResponseSchema),
  metricsInstant: plain(QueryInstantResponseSchema),
  /** The API's first version: the names of all scopes together. */
  tags: {
    schema: SearchTagsResponseSchema,
    message(answer) {
      const { scopes } = tagsV2.message(answer)
      const named = scopes.length > 1 ? scopes.filter(({ name }) => name !== 'intrinsic') : scopes
      const tagNames = [...new Set(named.flatMap(({ tags }) => tags))].sort()
      return create(SearchTagsResponseSchema, { tagNames })
    },
  } satisfies Kind<typeof SearchTagsResponseSchema>,
  /** The API's first version: values without their types. */
  tagValues: {
    schema: SearchTagValuesResponseSchema,
    message(answer) {
      const { tagValues } = tagValuesV2.message(answer)
      const values = [...new Set(tagValues.map(({ value }) => value))]
      return create(SearchTagValuesResponseSchema, { tagValues: values })
    },
  } satisfies Kind<typeof SearchTagValuesResponseSchema>,
}

/** The bytes of an answer. */
export function bytesOf<Desc extends DescMessage>(kind: Kind<Desc>, answer: Answer): Uint8Array {
  return toBinary(kind.schema, kind.message(answer))
}
