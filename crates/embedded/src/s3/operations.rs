//! The operations of S3 that Carelog uses; every other one is refused by `s3s`.

use std::sync::Arc;

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, ETagCondition, GetObjectInput,
    GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput,
    ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectVersionsInput, ListObjectVersionsOutput,
    ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput, MultipartUpload, Object,
    ObjectVersion, Part, PutObjectInput, PutObjectOutput, StreamingBlob, UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};

use super::access::tenant;
use super::blob::{self, Unnamed};
use super::error::StoreError;
use super::manifest::{ObjectManifest, UploadManifest};
use super::server::S3Clock;
use super::store::Store;
use super::tenants::Tenant;
use super::terms::{
    Expected, VERSION, aes256, check_encryption, check_version, expected, length, limit, moment,
    no_delimiter, part_number, strong,
};

/// S3 takes no larger body.
const MAX_BODY_BYTES: i64 = 5 << 30;

/// The operations on a store.
#[derive(Clone)]
pub(super) struct Operations {
    pub(super) store: Arc<Store>,
    pub(super) clock: S3Clock,
}

impl Operations {
    /// Runs on a thread that may block.
    async fn run<T, F>(&self, work: F) -> S3Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        Ok(done.map_err(S3Error::internal_error)??)
    }

    async fn receive(
        &self,
        tenant: &Arc<Tenant>,
        body: Option<StreamingBlob>,
        size: Option<i64>,
        expected: Expected,
    ) -> S3Result<Unnamed> {
        let size = size.ok_or_else(|| s3_error!(MissingContentLength))?;
        if size > MAX_BODY_BYTES {
            return Err(s3_error!(EntityTooLarge));
        }
        let size = u64::try_from(size).map_err(|_| s3_error!(InvalidArgument))?;
        let mut hasher = expected.hasher();
        let body = body.unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
        let pieces = futures::StreamExt::inspect(body, |piece| {
            if let Ok(piece) = piece {
                hasher.update(piece);
            }
        });
        let folder = self.store.blobs(tenant);
        let blob = blob::write(folder, tenant.key, Box::pin(pieces), size).await?;
        match blob.segment() {
            Some(segment) if expected.is_met(segment, &hasher.finalize()) => Ok(blob),
            Some(_) | None => Err(StoreError::BadDigest.into()),
        }
    }
}

#[async_trait::async_trait]
impl S3 for Operations {
    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        let tenant = tenant(&request)?;
        self.run(move |store| store.require_bucket(&tenant)).await?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let tenant = tenant(&request)?;
        self.run(move |store| store.create_bucket(&tenant)).await?;
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let tenant = tenant(&request)?;
        let mut input = request.input;
        check_encryption(input.server_side_encryption.as_ref(), input.sse_customer_algorithm.as_ref())?;
        if input.if_match.is_some() || input.if_none_match.is_some() {
            return Err(s3_error!(NotImplemented, "conditions on writes are not kept"));
        }
        if input.metadata.is_some_and(|metadata| !metadata.is_empty()) || input.tagging.is_some() {
            return Err(s3_error!(NotImplemented, "metadata and tags are not kept"));
        }
        let (held, key) = (Arc::clone(&tenant), input.key.clone());
        self.run(move |store| store.object(&held, &key).map(drop).or_else(unless_absent)).await?;
        let expected = expected!(input);
        let blob = self.receive(&tenant, input.body, input.content_length, expected).await?;
        let modified = (self.clock)();
        let etag = self.run(move |store| store.put(&tenant, input.key, input.content_type, blob, modified));
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(strong(&etag.await?)),
            server_side_encryption: Some(aes256()),
            ..PutObjectOutput::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let tenant = tenant(&request)?;
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        if input.part_number.is_some() || input.if_match.is_some() || input.if_unmodified_since.is_some() {
            return Err(s3_error!(NotImplemented, "parts and conditions cannot be asked for"));
        }
        let held = Arc::clone(&tenant);
        let object = self.run(move |store| store.object(&held, &input.key)).await?;
        let range = match &input.range {
            None => 0..object.size,
            Some(range) => range.check(object.size).map_err(|_| s3_error!(InvalidRange))?,
        };
        let content_range = input
            .range
            .map(|_| format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), object.size));
        let content_length = length(range.end - range.start);
        let segments = Arc::from(object.segments);
        let body = blob::read(self.store.blobs(&tenant), tenant.key, segments, range);
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::wrap(body)),
            content_length,
            content_range,
            content_type: object.content_type,
            e_tag: Some(strong(&object.etag)),
            last_modified: moment(object.modified),
            server_side_encryption: Some(aes256()),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let tenant = tenant(&request)?;
        check_version(request.input.version_id.as_deref())?;
        let object = self.run(move |store| store.object(&tenant, &request.input.key)).await?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: length(object.size),
            content_type: object.content_type,
            e_tag: Some(strong(&object.etag)),
            last_modified: moment(object.modified),
            server_side_encryption: Some(aes256()),
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let tenant = tenant(&request)?;
        check_version(request.input.version_id.as_deref())?;
        self.run(move |store| store.delete(&tenant, &request.input.key)).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let tenant = tenant(&request)?;
        let input = request.input;
        no_delimiter(input.delimiter.as_ref())?;
        let limit = limit(input.max_keys)?;
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.or(input.start_after).unwrap_or_default();
        let (objects, has_more) = self.run(move |store| store.list(&tenant, &prefix, &after, limit)).await?;
        let next = objects.last().map(|object| object.key.clone()).filter(|_| has_more);
        let contents: Vec<Object> = objects.into_iter().map(listed).collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            key_count: i32::try_from(contents.len()).ok(),
            max_keys: i32::try_from(limit).ok(),
            is_truncated: Some(has_more),
            next_continuation_token: next,
            contents: Some(contents),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let tenant = tenant(&request)?;
        let input = request.input;
        no_delimiter(input.delimiter.as_ref())?;
        let limit = limit(input.max_keys)?;
        let prefix = input.prefix.unwrap_or_default();
        let after = input.key_marker.unwrap_or_default();
        let (objects, has_more) = self.run(move |store| store.list(&tenant, &prefix, &after, limit)).await?;
        let next = objects.last().map(|object| object.key.clone()).filter(|_| has_more);
        let versions = objects.into_iter().map(|object| ObjectVersion {
            e_tag: Some(strong(&object.etag)),
            is_latest: Some(true),
            last_modified: moment(object.modified),
            size: length(object.size),
            key: Some(object.key),
            version_id: Some(VERSION.to_owned()),
            ..ObjectVersion::default()
        });
        Ok(S3Response::new(ListObjectVersionsOutput {
            name: Some(input.bucket),
            max_keys: i32::try_from(limit).ok(),
            is_truncated: Some(has_more),
            next_version_id_marker: next.as_ref().map(|_| VERSION.to_owned()),
            next_key_marker: next,
            versions: Some(versions.collect()),
            ..ListObjectVersionsOutput::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let tenant = tenant(&request)?;
        let input = request.input;
        check_encryption(input.server_side_encryption.as_ref(), input.sse_customer_algorithm.as_ref())?;
        let initiated = (self.clock)();
        let upload = UploadManifest { key: input.key.clone(), content_type: input.content_type, initiated };
        let upload_id = self.run(move |store| store.begin(&tenant, &upload)).await?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            server_side_encryption: Some(aes256()),
            upload_id: Some(upload_id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let tenant = tenant(&request)?;
        let mut input = request.input;
        check_encryption(None, input.sse_customer_algorithm.as_ref())?;
        let number = part_number(input.part_number)?;
        let (held, id, key) = (Arc::clone(&tenant), input.upload_id.clone(), input.key.clone());
        self.run(move |store| store.upload(&held, &id, &key).map(drop)).await?;
        let expected = expected!(input);
        let blob = self.receive(&tenant, input.body, input.content_length, expected).await?;
        let modified = (self.clock)();
        let etag = self
            .run(move |store| store.put_part(&tenant, &input.upload_id, &input.key, number, blob, modified));
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(strong(&etag.await?)),
            server_side_encryption: Some(aes256()),
            ..UploadPartOutput::default()
        }))
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let tenant = tenant(&request)?;
        let input = request.input;
        let limit = limit(input.max_parts)?;
        let after = input.part_number_marker.unwrap_or_default();
        let (id, key) = (input.upload_id.clone(), input.key.clone());
        let stored = self.run(move |store| store.parts(&tenant, &id, &key)).await?;
        let rest: Vec<_> = stored.into_iter().filter(|part| i32::from(part.number) > after).collect();
        let has_more = rest.len() > limit;
        let parts: Vec<Part> = rest
            .into_iter()
            .take(limit)
            .map(|part| Part {
                e_tag: Some(strong(&part.etag)),
                last_modified: moment(part.modified),
                part_number: Some(i32::from(part.number)),
                size: length(part.segment.size),
                ..Part::default()
            })
            .collect();
        let next = parts.last().and_then(|part| part.part_number).filter(|_| has_more);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(has_more),
            next_part_number_marker: next,
            parts: Some(parts),
            ..ListPartsOutput::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let tenant = tenant(&request)?;
        let input = request.input;
        no_delimiter(input.delimiter.as_ref())?;
        let limit = limit(input.max_uploads)?;
        let prefix = input.prefix.unwrap_or_default();
        let place = (input.key_marker.unwrap_or_default(), input.upload_id_marker.unwrap_or_default());
        let uploads = self.run(move |store| store.uploads(&tenant, &prefix)).await?;
        let rest: Vec<_> = uploads
            .into_iter()
            .filter(|(id, upload)| (upload.key.as_str(), id.as_str()) > (place.0.as_str(), place.1.as_str()))
            .collect();
        let has_more = rest.len() > limit;
        let uploads: Vec<MultipartUpload> = rest
            .into_iter()
            .take(limit)
            .map(|(id, upload)| MultipartUpload {
                initiated: moment(upload.initiated),
                key: Some(upload.key),
                upload_id: Some(id),
                ..MultipartUpload::default()
            })
            .collect();
        let last = uploads.last().filter(|_| has_more);
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            is_truncated: Some(has_more),
            next_key_marker: last.and_then(|upload| upload.key.clone()),
            next_upload_id_marker: last.and_then(|upload| upload.upload_id.clone()),
            uploads: Some(uploads),
            ..ListMultipartUploadsOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let tenant = tenant(&request)?;
        let input = request.input;
        let only_new = match &input.if_none_match {
            None => false,
            Some(ETagCondition::Any) => true,
            Some(ETagCondition::ETag(_)) => return Err(s3_error!(NotImplemented, "no such condition")),
        };
        if input.if_match.is_some() {
            return Err(s3_error!(NotImplemented, "no such condition"));
        }
        let mut named = Vec::new();
        for part in input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default() {
            let (Some(number), Some(etag)) = (part.part_number, part.e_tag) else {
                return Err(s3_error!(InvalidPart));
            };
            named.push((part_number(number)?, etag.into_value()));
        }
        let (key, modified) = (input.key.clone(), (self.clock)());
        let object = self
            .run(move |store| store.complete(&tenant, &input.upload_id, &key, &named, modified, only_new))
            .await?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(strong(&object.etag)),
            server_side_encryption: Some(aes256()),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let tenant = tenant(&request)?;
        let input = request.input;
        self.run(move |store| store.abort(&tenant, &input.upload_id, &input.key)).await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

/// A bucket and a key that can be written to, whether or not something is there.
fn unless_absent(error: StoreError) -> Result<(), StoreError> {
    match error {
        StoreError::NoSuchKey => Ok(()),
        other => Err(other),
    }
}

fn listed(object: ObjectManifest) -> Object {
    Object {
        e_tag: Some(strong(&object.etag)),
        last_modified: moment(object.modified),
        size: length(object.size),
        key: Some(object.key),
        ..Object::default()
    }
}
