//! What the table means for the OpenAPI document: who may call, and what everybody may be answered who does.

use super::{ROUTES, Route, Rule};
use serde_json::json;
use utoipa::openapi::{
    HeaderBuilder, OpenApi, PathItem, Ref, RefOr, Response, ResponseBuilder,
    content::ContentBuilder,
    extensions::ExtensionsBuilder,
    path::Operation,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

const PROBLEM_TYPE: &str = "application/problem+json";
/// The ways to prove who calls; any one will do.
const SCHEMES: [&str; 3] = ["signature", "session", "apiKey"];

/// Completes the document: schemes, refusals that come before a handler, and the media type of problems.
pub fn describe(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    let signature = ApiKey::Header(ApiKeyValue::with_description(
        "Signature-Input",
        "HTTP Message Signature (RFC 9421) by an Ed25519 key: docs/authentication.md",
    ));
    let session = ApiKey::Cookie(ApiKeyValue::with_description(
        "__Host-bursar_session",
        "A session begun with a passkey; what changes something needs the header X-CSRF-Token, too",
    ));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("bursar_…").build();
    components.add_security_scheme("signature", SecurityScheme::ApiKey(signature));
    components.add_security_scheme("session", SecurityScheme::ApiKey(session));
    components.add_security_scheme("apiKey", SecurityScheme::Http(bearer));
    for route in ROUTES {
        let operation =
            document.paths.paths.get_mut(route.path).and_then(|item| operation(item, route.method));
        if let Some(operation) = operation {
            complete(operation, route);
        }
    }
    for item in document.paths.paths.values_mut() {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            let responses =
                operation(item, method).into_iter().flat_map(|found| found.responses.responses.values_mut());
            for response in responses {
                name_problems(response);
            }
        }
    }
}

fn operation<'i>(item: &'i mut PathItem, method: &str) -> Option<&'i mut Operation> {
    match method {
        "GET" => item.get.as_mut(),
        "PUT" => item.put.as_mut(),
        "POST" => item.post.as_mut(),
        "DELETE" => item.delete.as_mut(),
        "PATCH" => item.patch.as_mut(),
        _ => None,
    }
}

fn complete(operation: &mut Operation, route: &Route) {
    let outside = route.path.starts_with("/v1/");
    let mut add = |status: &str, response: Response| {
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    };
    match route.rule {
        Rule::Open | Rule::Callback => {
            if outside {
                add("403", problem("It is not to be called from there"));
                add("429", limited());
            }
            operation.security = None;
            return;
        }
        Rule::Known | Rule::Any(_) => {
            add("401", problem("Nothing proves who calls; `detail` says what can be told of it"));
            add("403", problem("The caller's roles do not allow it, or it is not to be called from there"));
            add("413", problem("The body is too large"));
            add("429", limited());
            add("503", problem("The database does not answer, or it took too long"));
        }
    }
    let any = SCHEMES.map(|scheme| SecurityRequirement::new(scheme, Vec::<String>::new()));
    operation.security = Some(any.to_vec());
    if let Some(roles) = route.rule.roles() {
        let names: Vec<_> = roles.iter().map(|role| role.name()).collect();
        let extension = ExtensionsBuilder::new().add("x-roles", json!(names)).build();
        operation.extensions.get_or_insert_default().merge(extension);
    }
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name("Problem");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content(PROBLEM_TYPE, content).build()
}

fn limited() -> Response {
    let mut response = problem("Too many requests");
    let seconds = HeaderBuilder::new().description(Some("Seconds after which to come again")).build();
    response.headers.insert("Retry-After".into(), RefOr::T(seconds));
    response
}

/// Problems have a media type of their own (RFC 9457, section 3), which the handlers' annotations leave out.
fn name_problems(response: &mut RefOr<Response>) {
    let RefOr::T(response) = response else { return };
    let is_problem = response.content.get("application/json").is_some_and(|content| {
        let text = serde_json::to_string(content).unwrap_or_default();
        text.contains("\"#/components/schemas/Problem\"")
    });
    if is_problem && let Some(content) = response.content.shift_remove("application/json") {
        response.content.insert(PROBLEM_TYPE.into(), content);
    }
}
