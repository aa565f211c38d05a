// The C++ half of convolution.py: forward, backward-data and backward-weights convolutions between plain float32
// tensors (N, C, spatial...), computed in float32 or bfloat16 in whatever blocked layout oneDNN likes best.
#include <dnnl.hpp>
#include <cstdlib>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace onednn {
using dnnl::memory;
using Dims = memory::dims;
using Attributes = std::unordered_map<std::string, double>;

static dnnl::engine& the_engine() { static dnnl::engine e(dnnl::engine::kind::cpu, 0); return e; }
static dnnl::stream& the_stream() { static dnnl::stream s(the_engine()); return s; }

// Operands are copied into oneDNN's layout at every call; fresh pages for those copies would cost more than the copy.
static void* scratch(int slot, size_t bytes) {
    static void* block[3] = {}; static size_t size[3] = {};
    if (size[slot] < bytes) {
        free(block[slot]);
        size[slot] = (bytes + 63) / 64 * 64;
        block[slot] = aligned_alloc(64, size[slot]);
    }
    return block[slot];
}

struct Operand { Dims dims; memory::format_tag plain; memory::desc any; };

struct Problem {
    Operand x, w, y;
    Dims stride, padding, dilation;

    template <class Shape>
    Problem(const Shape& xs, const Shape& ws, const Shape& ys, const Attributes& a, bool bfloat16, bool f32_weights) {
        int rank = xs.size() - 2;
        for (int i = 0; i < rank; i++) {
            std::string axis = std::to_string(i);
            stride.push_back(a.at("stride" + axis));
            padding.push_back(a.at("padding" + axis));
            dilation.push_back(a.at("dilation" + axis) - 1);
        }
        memory::dim groups = a.at("groups");
        auto type = bfloat16 ? memory::data_type::bf16 : memory::data_type::f32;
        using tag = memory::format_tag;
        auto operand = [&](const Shape& shape, bool weight) {
            Operand o;
            for (int i = 0; i < (int)shape.size(); i++) o.dims.push_back(shape[i]);
            if (weight && groups > 1) { o.dims[0] /= groups; o.dims.insert(o.dims.begin(), groups); }
            int n = o.dims.size();
            o.plain = n == 4 ? tag::abcd : n == 5 ? tag::abcde : tag::abcdef;
            o.any = memory::desc(o.dims, weight && f32_weights ? memory::data_type::f32 : type, tag::any);
            return o;
        };
        x = operand(xs, false); w = operand(ws, true); y = operand(ys, false);
    }

    dnnl::convolution_forward::primitive_desc forward(dnnl::algorithm algorithm) const {
        return {{dnnl::prop_kind::forward_training, algorithm, x.any, w.any, y.any, stride, dilation, padding, padding},
                the_engine()};
    }
};

// A prepared primitive with the layouts it wants. Preparing takes longer than many a convolution, so plans are kept.
struct Plan {
    struct Slot { int argument; Operand operand; memory::desc layout; };
    dnnl::primitive primitive;
    Slot inputs[2], output;
};

template <class Shape, class Prepare>
static const Plan& plan(const Shape& xs, const Shape& ws, const Shape& ys, const Attributes& a, Prepare prepare) {
    static std::map<std::vector<double>, Plan> plans;
    std::vector<double> key;
    for (auto* shape : {&xs, &ws, &ys})
        for (int i = 0; i < (int)shape->size(); i++) key.push_back((*shape)[i]);
    std::map<std::string, double> sorted(a.begin(), a.end());
    for (auto& attribute : sorted) key.push_back(attribute.second);
    auto found = plans.find(key);
    return found != plans.end() ? found->second : plans.emplace(key, prepare()).first->second;
}

static void execute(const Plan& p, const float* first, const float* second, float* result) {
    auto& stream = the_stream();
    auto user = [](const Operand& o, const float* data) {
        return memory({o.dims, memory::data_type::f32, o.plain}, the_engine(), const_cast<float*>(data));
    };
    auto placed = [&](const Plan::Slot& slot, const memory& plain, int block) {
        if (plain.get_desc() == slot.layout) return plain;
        return memory(slot.layout, the_engine(), scratch(block, slot.layout.get_size()));
    };
    std::unordered_map<int, memory> arguments;
    const float* data[] = {first, second};
    for (int i = 0; i < 2; i++) {
        memory plain = user(p.inputs[i].operand, data[i]), inner = placed(p.inputs[i], plain, i);
        if (inner.get_data_handle() != plain.get_data_handle()) dnnl::reorder(plain, inner).execute(stream, plain, inner);
        arguments[p.inputs[i].argument] = inner;
    }
    memory plain = user(p.output.operand, result), inner = placed(p.output, plain, 2);
    arguments[p.output.argument] = inner;
    p.primitive.execute(stream, arguments);
    if (inner.get_data_handle() != plain.get_data_handle()) dnnl::reorder(inner, plain).execute(stream, inner, plain);
    stream.wait();
}

template <class Shape>
void forward(const float* x, const Shape& xs, const float* w, const Shape& ws, float* y, const Shape& ys,
             const Attributes& a) {
    execute(plan(xs, ws, ys, a, [&] {
        Problem p(xs, ws, ys, a, a.at("bfloat16"), false);
        auto d = p.forward(dnnl::algorithm::convolution_auto);
        return Plan{dnnl::convolution_forward(d), {{DNNL_ARG_SRC, p.x, d.src_desc()},
                    {DNNL_ARG_WEIGHTS, p.w, d.weights_desc()}}, {DNNL_ARG_DST, p.y, d.dst_desc()}};
    }), x, w, y);
}

template <class Shape>
void backward_x(const float* dy, const Shape& ys, const float* w, const Shape& ws, float* dx, const Shape& xs,
                const Attributes& a) {
    execute(plan(xs, ws, ys, a, [&] {
        Problem p(xs, ws, ys, a, a.at("bfloat16"), false);
        auto direct = dnnl::algorithm::convolution_direct;
        dnnl::convolution_backward_data::primitive_desc d(
            {direct, p.x.any, p.w.any, p.y.any, p.stride, p.dilation, p.padding, p.padding}, the_engine(),
            p.forward(direct));
        return Plan{dnnl::convolution_backward_data(d), {{DNNL_ARG_DIFF_DST, p.y, d.diff_dst_desc()},
                    {DNNL_ARG_WEIGHTS, p.w, d.weights_desc()}}, {DNNL_ARG_DIFF_SRC, p.x, d.diff_src_desc()}};
    }), dy, w, dx);
}

template <class Shape>
void backward_w(const float* dy, const Shape& ys, const float* x, const Shape& xs, float* dw, const Shape& ws,
                const Attributes& a) {
    execute(plan(xs, ws, ys, a, [&] {
        // The gradient of a weight is a sum over batch and space: it stays float32 even where the operands do not.
        // Rows of more than 224 stay float32 altogether: oneDNN 2.6.3 then writes past its buffers with AMX (3 x 3, stride 1).
        bool bfloat16 = a.at("bfloat16") && xs[xs.size() - 1] <= 224;
        Problem p(xs, ws, ys, a, bfloat16, true), hint(xs, ws, ys, a, bfloat16, false);
        auto direct = dnnl::algorithm::convolution_direct;
        dnnl::convolution_backward_weights::primitive_desc d(
            {direct, p.x.any, p.w.any, p.y.any, p.stride, p.dilation, p.padding, p.padding}, the_engine(),
            hint.forward(direct));
        return Plan{dnnl::convolution_backward_weights(d), {{DNNL_ARG_DIFF_DST, p.y, d.diff_dst_desc()},
                    {DNNL_ARG_SRC, p.x, d.src_desc()}}, {DNNL_ARG_DIFF_WEIGHTS, p.w, d.diff_weights_desc()}};
    }), dy, x, dw);
}
}  // namespace onednn
